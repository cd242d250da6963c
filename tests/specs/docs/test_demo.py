"""`make demo`, and the examples it shows."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.specs.cli.room import Room

pytestmark = pytest.mark.all
DAGS = sorted((ROOT / "examples" / "dags").glob("*.yaml"))


@pytest.mark.net
def test_the_demo_ends_well_also_when_its_port_is_taken(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # somebody else has it: as good
        done = subprocess.run(
            [sys.executable, "examples/demo.py"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.findall(r"^([\w-]+): (succeeded|failed) in", done.stdout, re.MULTILINE)[-1] == ("manifest", "succeeded")
    assert "http://127.0.0.1:8080" not in done.stdout
    assert re.search(r"^  http://127.0.0.1:\d+/api/v2/dag-runs$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("The server has stopped, nothing is left running.\n")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("astrarium-demo")] == []


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.stem)
def test_an_example_runs_as_its_comment_says(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    room = Room(tmp_path)
    assert f"astrarium run examples/dags/{path.name}" in text
    document = room.document("run", str(path), "--", f"OUT={tmp_path / 'out'}", *(["ROWS=100"] if "ROWS" in text else []))
    assert document["status"] == "succeeded"
    assert (tmp_path / "out").exists()


def test_the_flaky_example_fails_and_raises_the_alarm(tmp_path: Path) -> None:
    room = Room(tmp_path)
    path = ROOT / "examples" / "dags" / "flaky-fetch.yaml"
    document = room.document("run", str(path), "--", f"OUT={tmp_path / 'out'}", "WORKS_ON_TRY=9", code=1)
    steps = {step["name"]: (step["status"], step["tries"]) for step in document["steps"]}
    assert steps["fetch"] == ("failed", 4)
    assert steps["use"][0] == "aborted"
    assert document["id"] in (tmp_path / "out" / "alarm.txt").read_text()
