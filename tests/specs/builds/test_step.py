"""A task of the SDK as a step of a DAG: made once, whoever asks for it; recorded by the server that runs the DAG."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.specs.cli.room import Room, until

pytestmark = [pytest.mark.all, pytest.mark.slow]

PIPE = """
import os, time
from pathlib import Path
import astrarium as ar

def note(word):
    with open(os.environ["NOTES"], "a") as file:
        file.write(word + "\\n")

@ar.task
def numbers(limit: int) -> list[int]:
    note("numbers")
    time.sleep(0.2)
    return list(range(limit))

@ar.task
def total(values: ar.Depends[list[int]]) -> int:
    note("total")
    return sum(values)

@ar.task
def sleeps(name: str) -> int:
    note("sleeps")
    time.sleep(60)
    return 1

def chain(limit: int):
    return total(values=numbers(limit=limit))
"""
DAG = """
type: {type}
params: LIMIT=4
env:
  - NOTES: {notes}
  - HOME: {home}
steps:
  - name: one
    executor:
      type: task
      config:
        task: pipe:chain
        params: {{limit: "${{LIMIT}}"}}
    output: ONE
  - name: two
    type: task
    config:
      task: pipe:total
      params:
        values: '{{"__name": "numbers", "__namespace": "", "limit": 4}}'
    output: TWO
  - name: say
    command: echo "${{ONE.value}} ${{ONE.uri}} ${{TWO.uri}}"
    depends: [one, two]
"""


@pytest.fixture
def room(tmp_path: Path) -> Room:
    room = Room(tmp_path)
    (room.dags / "pipe.py").write_text(PIPE)
    return room


def dag(room: Room, kind: str) -> Path:
    told = DAG.format(type=kind, notes=room.folder / "notes", home=room.folder / "home")
    if kind == "chain":
        told = told.replace("    depends: [one, two]\n", "")
    return room.write("dags/build.yaml", told)


def notes(room: Room) -> list[str]:
    path = room.folder / "notes"
    return sorted(path.read_text().split()) if path.exists() else []


def test_two_steps_that_build_the_same_make_it_once(room: Room) -> None:
    file = dag(room, "chain")
    room.ok("run", str(file), "--run-id", "first")
    value, first, second = room.ok("logs", "first", "say").split()
    assert (value, first) == ("6", second) and json.loads(Path(first).read_text()) == 6
    assert first.startswith(str(room.folder / "home"))
    assert notes(room) == ["numbers", "total"]
    room.ok("run", str(file), "--run-id", "again")
    assert notes(room) == ["numbers", "total"], "what is made is used as it is"
    room.ok("run", str(file), "--run-id", "other", "--", "LIMIT=5")
    assert notes(room) == ["numbers", "numbers", "total", "total"]


def test_steps_that_build_the_same_at_a_time_share_the_servers_claims(room: Room) -> None:
    """Both run at once. The server that runs them records both builds and gives each task to one of them."""
    dag(room, "graph")
    with room.server():
        room.ok("run", str(room.dags / "build.yaml"), "--run-id", "first")
        assert notes(room) == ["numbers", "total"]
        builds = json.loads(room.ok("builds", "list", "--json"))["builds"]
        assert [one["status"] for one in builds] == ["completed", "completed"]
        tasks = json.loads(room.ok("tasks", "list", "--json"))["tasks"]
        assert sorted((one["task_name"], one["status"]) for one in tasks) == [("numbers", "completed"), ("total", "completed")]


def test_a_stop_ends_the_build_and_frees_what_it_had_claimed(room: Room) -> None:
    room.write(
        "dags/long.yaml",
        f"env:\n  - NOTES: {room.folder / 'notes'}\n  - HOME: {room.folder / 'home'}\n"
        "steps:\n  - name: one\n    type: task\n    config: {task: 'pipe:sleeps', params: {name: x}}\n",
    )
    with room.server(), room.begun("run", str(room.dags / "long.yaml"), "--run-id", "long") as running:
        until(lambda: notes(room) == ["sleeps"], "the body's start")
        began = time.monotonic()
        room.ok("stop", "long")
        running.wait(60)
        assert time.monotonic() - began < 30

        def freed() -> Any:
            (task,) = json.loads(room.ok("tasks", "list", "--json"))["tasks"]
            return task["status"] == "interrupted" and task["claim_expires_at"] is None

        until(freed, "the claim's return")
    assert not any(os.path.exists(f"/proc/{pid}") for pid in room.processes("pipe:sleeps"))


def test_a_wrong_step_is_told_where_it_stands(room: Room) -> None:
    file = room.write("dags/wrong.yaml", "steps:\n  - name: a\n    type: task\n    config: {task: pipe, mode: fast, what: 1}\n")
    done = room.call("validate", str(file))
    assert done.returncode == 1
    for told in ("module:attribute", "mode", "what"):
        assert told in done.stdout + done.stderr
