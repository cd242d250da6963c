"""The commands beside a live server, and a run that is left and taken up again."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.specs.cli.room import ASTRARIUM, Room, until

pytestmark = [pytest.mark.all, pytest.mark.net]
EXAMPLES = ROOT / "examples" / "graphs"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    room = Room(tmp_path)
    for name in ("triage.yaml", "triage.py", "votes.yaml", "votes.py"):
        shutil.copy(EXAMPLES / name, room.folder)
    return room


def test_a_server_runs_what_it_offers(room: Room) -> None:
    with room.server("--graph", "triage.yaml"):
        asked = room.call("graph", "run", "triage.yaml", "-i", "text=I want 120 euro back", "--json")
        assert asked.returncode == 2, asked.stderr
        run = json.loads(asked.stdout)["run_id"]
        wrong = room.call("graph", "respond", run, "-r", "decision=maybe")
        assert (wrong.returncode, "not one of" in wrong.stderr) == (1, True)
        done = room.ok("graph", "respond", run, "-r", "decision=approve")
        assert done.splitlines()[-1] == f"run_id={run} status=done"
        fork = room.ok("graph", "counterfactual", run, "--step", "1", "--answer", '1={"decision": "refuse"}')
        assert "We cannot refund this." in fork and "refund | refuse" in fork
        again = room.call("graph", "resume", run)
        assert (again.returncode, "cannot resume from state 'done'" in again.stderr) == (1, True)
        other = room.call("graph", "run", "votes.yaml", "-i", "text=x")
        assert (other.returncode, "offers no such graph" in other.stderr) == (1, True)
        granted = room.call("graph", "run", "triage.yaml", "-i", "text=x", "--grant", "tools:std:exec")
        assert (granted.returncode, "its setting" in granted.stderr) == (2, True)
        left = room.ok("graph", "run", "triage.yaml", "-i", "text=hello", "--detach").strip()
        until(lambda: json.loads(room.ok("graph", "inspect", left, "--json"))["status"] == "done", "the run")
        assert "✓ the rules decide alike" in room.ok("graph", "verify", run)
    assert room.ok("graph", "inspect", run).startswith(f"{run}  graph:triage  done"), "reading goes on without the server"


SLOW = """
ir_version: "1.1.0"
id: "graph:slow"
state_schema: {said: {type: list, default: []}}
nodes: [{id: first, kind: "slow:first"}, {id: second, kind: "slow:second"}]
"""
SLOW_CODE = """
import time
from pathlib import Path

def first(state):
    return {"said": [*state["said"], "first"]}

def second(state):
    Path("began").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return {"said": [*state["said"], "second"]}
"""


@pytest.mark.all
@pytest.mark.crash
def test_a_run_whose_process_was_killed_goes_on_from_its_last_step(room: Room) -> None:
    room.write("slow.yaml", SLOW)
    room.write("slow.py", SLOW_CODE)
    with room.begun("graph", "run", "slow.yaml") as process:
        until((room.folder / "began").exists, "the second step")
        process.kill()
        process.communicate()
    (room.folder / "go").touch()
    run = json.loads(room.ok("graph", "runs", "--json"))["items"][0]["run_id"]
    with room.server("--graph", "slow.yaml"):
        until(lambda: json.loads(room.ok("graph", "inspect", run, "--json"))["status"] == "done", "the rest of the run")
    shown = json.loads(room.ok("graph", "inspect", run, "--json"))
    assert shown["state"] == {"said": ["first", "second"]}
    assert [one["last_node"] for one in shown["steps"]] == ["first", "second"]


def test_a_question_is_put_at_a_terminal(room: Room) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*ASTRARIUM, "graph", "run", "triage.yaml", "-i", "text=I want 99 euro back"],
        cwd=room.folder, env={**room.env, "TERM": "xterm", "COLUMNS": "120"}, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, b"maybe\napprove\nRegards\n")
    told = b""
    try:
        while data := os.read(ours, 65536):
            told += data
    except OSError:  # Linux: the other side is closed
        os.close(ours)
    assert process.wait(60) == 0, told.decode()
    assert b"one of approve, refuse" in told and b"We send you 99.0 back. Regards" in told
