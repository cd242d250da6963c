"""Where runs queue, and the sentences that say why they wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrarium.errors import Invalid
from astrarium.spec.graph import Graph
from astrarium.surfaces.dags import wire
from astrarium.surfaces.dags.desk import Desk, Place
from astrarium.surfaces.dags.views.queue import Line, in_line, limit_in, summary_of


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    nothing: Any = None
    return Desk(nothing, nothing, {}, tmp_path, "0", {"heavy": 4, "open": 0})


@pytest.mark.parametrize(
    ("graph", "asked", "place"),
    [
        (Graph("d", max_active_runs=1), "", Place("name", 1)),
        (Graph("d", max_active_runs=5), "", Place("name", 5)),
        (Graph("d", max_active_runs=-1), "", Place("name", 0, True)),
        (Graph("d", queue="mine", max_active_runs=2), "", Place("mine", 2)),
        (Graph("d", queue="heavy", max_active_runs=1), "", Place("heavy", 4)),
        (Graph("d", queue="heavy", max_active_runs=-1), "", Place("heavy", 4)),
        (Graph("d", queue="mine", max_active_runs=1), "heavy", Place("heavy", 4)),
        (Graph("d", max_active_runs=1), "other", Place("other", 1)),
        (Graph("d", max_active_runs=1), "open", Place("open", 0)),
    ],
)
def test_the_queue_alone_decides_how_many(desk: Desk, graph: Graph, asked: str, place: Place) -> None:
    assert desk.place_of("name", graph, asked) == place


@pytest.mark.parametrize("asked", ["a b", "../up", "-x", "x" * 41, "\0"])
def test_a_queue_has_a_plain_name(desk: Desk, asked: str) -> None:
    with pytest.raises(Invalid) as caught:
        desk.place_of("name", Graph("d"), asked)
    assert caught.value.problems[0].path == "queue"


@pytest.mark.parametrize(
    ("line", "limit", "before", "told"),
    [
        (Line(1, ["a/1"]), 1, 0, "waits in queue q: 1 of 1 place taken by a/1; it is next"),
        (Line(2, ["a/1", "b/2"]), 2, 1, "waits in queue q: 2 of 2 places taken by a/1, b/2; 1 run is before it"),
        (
            Line(7, ["a/1", "b/2", "c/3"]), 5, 12,
            "waits in queue q: 7 of 5 places taken by a/1, b/2, c/3 and 4 more; 12 runs are before it",
        ),
        (Line(1, ["a/1"]), 1, -1, "has a place in queue q and begins"),
    ],
)  # fmt: skip
def test_sentences(line: Line, limit: int, before: int, told: str) -> None:
    assert in_line("q", line, limit, before) == told


@pytest.mark.parametrize(("state", "limit"), [("held:3", 3), ("waiting:0", 0), ("limit:12", 12)])
def test_the_limit_a_row_names(state: str, limit: int) -> None:
    assert limit_in(state) == limit


def test_the_sum_never_says_more_than_everything_is_in_use() -> None:
    queues = [wire.queue.Queue("a", "global", [], [], 5, 2, 2), wire.queue.Queue("b", "dag-based", [], [], 0, 0, 4)]
    assert summary_of(queues) == wire.queue.QueuesSummary(2, 5, 2, 6, 83.33)
    assert summary_of(queues[:1]).utilization_percentage == 100.0
    assert summary_of([]) == wire.queue.QueuesSummary(0, 0, 0, 0, 0.0)
    shown = msgspec.json.decode(msgspec.json.encode(wire.queue.Queue("c", "dag-based", [], [], 0, 0)))
    assert shown == {"name": "c", "type": "dag-based", "running": [], "queued": [], "runningCount": 0, "queuedCount": 0}


@pytest.mark.parametrize(("given", "number"), [("high", 10), ("normal", 0), ("low", -10), (7, 7)])
def test_words_for_priorities(given: int | str, number: int) -> None:
    assert wire.queue.priority_number(given) == number
