"""What people at a terminal see."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.specs.cli.room import ASTRARIUM, Room


def at_terminal(room: Room, *words: str) -> tuple[int, str]:
    """A command with a terminal of 100 columns; its exit code and what it left there, without colours and movements."""
    ours, theirs = pty.openpty()
    env = {**room.env, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen([*ASTRARIUM, *words], cwd=room.folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    told = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not data:
            break
        told += data
    os.close(ours)
    return process.wait(60), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told.decode()).replace("\r", "")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_run_leaves_its_tree(room: Room) -> None:
    room.write("two.yaml", "steps:\n  - name: one\n    command: echo first words\n  - name: two\n    command: exit 4\n")
    code, told = at_terminal(room, "run", "two.yaml", "--run-id", "r1")
    assert code == 1
    assert re.search(r"✗ two  r1  failed  1/2 steps  ", told)
    assert re.search(r"├─ ✓ one  \S+\n│     first words\n└─ ✗ two  \S+  exit code 4", told)


def test_tables_and_details(room: Room) -> None:
    assert "no DAG files in" in at_terminal(room, "dags")[1]
    room.write("dags/one.yaml", "description: x\nschedule: '0 1 * * *'\nsteps: ['true']\n")
    room.write("dags/bad.yaml", "steps: [")
    room.ok("run", "one", "--run-id", "r1", "-p", "a=b")
    code, told = at_terminal(room, "runs")
    assert code == 0
    assert re.search(r"ID +NAME +STATUS +STARTED +TOOK +PARAMS", told)
    assert re.search(r"r1 +one +succeeded +\d{4}-\d\d-\d\d", told)
    assert "no runs" in at_terminal(room, "runs", "--name", "zzz")[1]
    told = at_terminal(room, "dags")[1]
    assert re.search(r"one +one +|one +one.yaml +", told)
    assert "invalid" in told
    told = at_terminal(room, "status", "r1")[1]
    assert "✓ one  r1  succeeded  1/1 steps" in told
    assert "params: a=b" in told
