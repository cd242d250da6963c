"""Ids and hashes are Stardag's for the same task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import astrarium as ar
from astrarium.sdk.task import identity
from tests.conftest import ROOT, Require

SAME = ROOT / "tests" / "sdk" / "task" / "same_tasks.py"
GOLDEN = ROOT / "tests" / "golden" / "task_ids.json"


@ar.task
def vector_numbers(limit: int) -> list[int]:
    return list(range(limit))


def test_the_id_is_taken_of_escaped_json_with_sorted_keys() -> None:
    """The three tasks of the contract, by hand."""
    numbers = identity.task_id({"version": "", "limit": 4, "__name": "numbers", "__namespace": ""})
    assert str(numbers) == "51e991c3-3baf-5088-b553-49bd7baeced2"
    total = identity.task_id({"__name": "total", "__namespace": "", "values": {"id": str(numbers)}, "version": ""})
    assert str(total) == "bbdf0620-4ce0-546c-a972-34efeabff0f0"
    fields = {"__name": "report", "__namespace": "", "title": "a", "value": {"id": str(total)}, "version": "2"}
    assert str(identity.task_id(fields)) == "8d856b66-69ab-5a9f-b119-24226af59898"


def test_the_instance_hash_is_taken_of_the_whole_body() -> None:
    body = {"__name": "numbers", "__namespace": "", "limit": 4, "version": ""}
    assert str(identity.instance_hash(body)) == "da5ba0db-ce76-5a71-9b2a-b162c2b51532"
    with pytest.raises(ValueError):
        identity.instance_hash({"x": float("nan")})


def run(python: str, library: str, home: Path, *more: str) -> Any:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("STARDAG_", "ASTRARIUM_"))},
        "HOME": str(home),
        "STARDAG_TARGET_ROOTS": json.dumps({"default": str(home / "roots") if more else "/roots"}),
        "STARDAG_NO_REGISTRY": "1",
    }
    done = subprocess.run(
        [python, str(SAME), library, *more], capture_output=True, text=True, env=environment, cwd=home, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_ids_hashes_and_places_of_many_tasks_stay_what_they_are(tmp_path: Path) -> None:
    """The file was written once with both libraries, which agreed."""
    assert run(sys.executable, "astrarium", tmp_path) == json.loads(GOLDEN.read_text())


@pytest.mark.all
@pytest.mark.slow
@pytest.mark.net
def test_they_are_those_of_the_real_client(tmp_path: Path, require: Require) -> None:
    uv = Path(sys.executable).with_name("uv")
    require("net", uv.exists(), "no uv beside the interpreter to install stardag with")
    venv = tmp_path / "venv"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, venv], check=True, capture_output=True)
    python = venv / "bin" / "python"
    done = subprocess.run(
        [uv, "pip", "install", "-q", "--python", python, "stardag==0.28.0"], capture_output=True, text=True, check=False
    )
    require("net", done.returncode == 0, f"stardag 0.28.0 cannot be installed: {done.stderr.strip()[-200:]}")
    theirs, ours = run(str(python), "stardag", tmp_path), run(sys.executable, "astrarium", tmp_path)
    assert [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]] == []
    first, second = run(str(python), "stardag", tmp_path, "build"), run(sys.executable, "astrarium", tmp_path, "build")
    assert (len(first["made"]), second["made"], second["loaded"]) == (3, [], first["loaded"]), "one target store for both"
    (tmp_path / "roots").rename(tmp_path / "away")
    first, second = run(sys.executable, "astrarium", tmp_path, "build"), run(str(python), "stardag", tmp_path, "build")
    assert (len(first["made"]), second["made"], second["loaded"]) == (3, [], first["loaded"])
