"""Logs written long ago still fold to the rows written with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from astrarium.kernel.machine import Known
from astrarium.kernel.types import Scope
from astrarium.runs.message import EVENTS
from astrarium.runs.run import RunMachine
from astrarium.runs.state import Definition
from astrarium.spec.graph import decode_graph, encode_graph, graph_hash
from tests.golden.histories.record import STORIES, rows_of

FOLDER = Path(__file__).parent
HISTORIES = sorted(FOLDER.glob("*.jsonl"))


def fold(path: Path, upto: int | None = None) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """(state, first line, events) of a history."""
    first, *events = [json.loads(line) for line in path.read_text().splitlines()]
    machine = RunMachine()
    known = Known(machine)
    graph = decode_graph(json.dumps(first["graph"]).encode())
    state = machine.new("run:r1", Scope("ws", "local"))
    machine.provide(state, {graph_hash(encode_graph(graph)): Definition(graph)})
    for event in events[:upto]:
        body = known.decode(event["type"], event["v"], json.dumps(event["body"]).encode())
        machine.evolve(state, body, event["at"])
    return state, first, events


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_it_folds_to_its_rows(path: Path) -> None:
    state, first, events = fold(path)
    rows = {(row["table"], row.get("no")): row for row in rows_of(state)}
    assert len(rows) == len(first["rows"])
    for recorded in first["rows"]:
        row = rows[(recorded["table"], recorded.get("no"))]
        assert {name: row[name] for name in recorded} == recorded, "a column may be added, none may change"
    assert state.status == "ended" and events


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_it_folds_on_from_a_dump_at_any_event(path: Path) -> None:
    machine = RunMachine()
    whole, _, events = fold(path)
    known = Known(machine)
    for cut in range(1, len(events)):
        part, _, _ = fold(path, cut)
        state = machine.load("run:r1", Scope("ws", "local"), machine.dump(part), {part.graph: part.known})
        for event in events[cut:]:
            machine.evolve(state, known.decode(event["type"], event["v"], json.dumps(event["body"]).encode()), event["at"])
        assert machine.dump(state) == machine.dump(whole)


def test_every_event_has_a_history() -> None:
    told = {json.loads(line)["type"] for path in HISTORIES for line in path.read_text().splitlines()[1:]}
    assert {event.__name__ for event in EVENTS} - told == set()
    assert {path.stem for path in HISTORIES} >= set(STORIES)
