"""Status words, windows of text, the events of a run as lines, rows as they are stored."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from astrarium.errors import Invalid
from astrarium.kernel.types import Event
from astrarium.runs import message as m
from astrarium.runs.ports import Ask, Child, StepOutcome
from astrarium.runs.routing.port import Abort, RunOutcome, Skip, Visit
from astrarium.runs.row import RUNS, STEPS
from astrarium.runs.state import RunStatus, StepStatus
from astrarium.surfaces.dags.views import journal, query, run, status
from astrarium.surfaces.dags.views.log import Window, parse_window, select
from astrarium.surfaces.dags.views.run import Relatives, summary_fields


def test_rows_have_the_columns_of_their_tables() -> None:
    assert query.RunRow._fields == tuple(column.name for column in RUNS.columns)
    assert query.StepRow._fields == tuple(column.name for column in STEPS.columns)


def row_with(**more: Any) -> query.RunRow:
    plain = {column.name: 0 if column.kind == "int" else "" for column in RUNS.columns}
    return query.RunRow(**(plain | {"status": "ended", "outcome": "succeeded", "resolved": "{}", "labels": "{}"} | more))


def test_a_run_says_what_began_it_and_which_slot_it_belongs_to() -> None:
    plain = summary_fields(row_with(trigger="manual"), Relatives(("a", "1")), "")
    assert (plain["trigger"], plain["scheduled_at"]) == ("manual", "")
    labels = '{"slot":"2026-01-01T04:00:00Z","schedule":"start"}'
    slot = summary_fields(row_with(trigger="schedule", labels=labels), Relatives(("a", "1")), "")
    assert (slot["trigger"], slot["scheduled_at"]) == ("schedule", "2026-01-01T04:00:00Z")


def run_cases() -> list[tuple[str, str, str, str]]:
    words = [word for word in (*get_args(RunStatus)[1:-1], "waiting") if word != "parked"]  # which readers see as paused
    alive = [(word, "", waiting, queue) for word in words for waiting in ("", "person", "slot") for queue in ("", "q")]
    return [*alive, *(("ended", outcome, "", "") for outcome in get_args(RunOutcome))]


def test_the_filter_and_the_shown_number_agree() -> None:
    store = sqlite3.connect(":memory:")
    store.execute("CREATE TABLE runs (status, outcome, waiting, queue)")
    store.executemany("INSERT INTO runs VALUES (?, ?, ?, ?)", run_cases())
    seen = 0
    for number in range(9):
        rows = []
        for condition, args in status.with_status(number):
            rows += store.execute(f"SELECT status, outcome, waiting, queue FROM runs WHERE {condition}", args).fetchall()
        assert {status.run_status(*row) for row in rows} <= {number}
        seen += len(rows)
    assert seen == len(run_cases())
    store.close()


def test_every_word_of_a_step_has_a_number() -> None:
    for word in get_args(StepStatus)[:-1]:
        assert status.node_status(word, "") in range(9)
    for outcome in get_args(StepOutcome):
        assert status.node_status("done", outcome) in range(9)
    assert status.node_status("done", "succeeded", partial=True) == 6
    assert status.node_status("done", "failed", marked=True) == 4
    assert status.node_status("done", "aborted", marked=True) == 3
    assert status.NODE_LABELS[5] == "skipped"
    assert status.RUN_LABELS[5] == "queued"


def test_every_mark_is_shown_as_it_was_asked_or_not_started() -> None:
    for number, outcome in status.MARKS.items():
        shown = status.node_status("done", outcome) if outcome else 0
        assert shown in (number, 0)
    with pytest.raises(Invalid):
        status.mark_of(9)


@pytest.mark.parametrize(
    ("window", "lines", "more"),
    [(Window(), "abcde", False), (Window(head=2), "ab", True), (Window(tail=2), "de", True),
     (Window(offset=2, limit=2), "bc", True), (Window(offset=9), "", False), (Window(tail=9, head=1), "abcde", False),
     (Window(offset=5), "e", False)],
)  # fmt: skip
def test_windows(window: Window, lines: str, more: bool) -> None:
    told = select("abcde", window)
    assert told.content == "\n".join(lines)
    assert (told.line_count, told.total_lines, told.has_more) == (len(lines), 5, more)


def test_a_window_complains_about_everything_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse_window({"tail": "a", "head": "0", "limit": "99999", "offset": ""})
    assert [problem.path for problem in caught.value.problems] == ["tail", "head", "limit"]


START = m.StartRun("hash", "dag", "dags", "id", "A=1")
BODIES: list[tuple[Any, list[str]]] = [
    (m.RunCreated(START), ["run id of dag created (manual) with A=1"]),
    (m.RunForked(m.ForkRun(START, "old", 1, 2)), ["run id of dag forked from old"]),
    (m.RunImported(m.ImportRun(START, "failed", 1)), ["run id of dag taken over: it failed elsewhere"]),
    (m.RunRenamed("new", "dag"), ["DAG dag renamed to new"]),
    (m.RunBegan((Visit(0, 0), Skip(1, 1))), ["run began", "step b skipped"]),
    (m.RunPrepared(m.Resolved(error="no\nfile")), ["parameters and environment could not be resolved: no file"]),
    (m.RunPrepared(m.Resolved(unmet="x")), ["precondition not met: x"]),
    (m.RunPrepared(m.Resolved()), ["parameters and environment resolved"]),
    (m.StepStarted(0, 2), ["step a started, try 2"]),
    (m.StepDelayed(0, 1_000_000, "retry", "bad"), ["step a failed and will be tried again at 1970-01-01T00:00:01.000Z: bad"]),
    (m.StepAsked(0, Ask("ok?")), ["step a waits for a person: ok?"]),
    (m.AnswerGiven(0, "ann", False, reason="no"), ["step a rejected by ann: no"]),
    (m.ChildrenSpawned(0, (Child("k", "h", "part"),)), ["step a runs 1 child runs of part"]),
    (m.ChildEnded(0, 1, outcome="failed", error="x"), ["step a: child run 2 failed: x"]),
    (
        m.StepEnded(0, "failed", (Abort(1, 1),), exit_code=3, tolerated=True),
        ["step a failed (exit code 3), tolerated", "step b aborted"],
    ),
    (m.StepDropped(1), ["nothing waits for step b any more"]),
    (m.FanExpired(2, (Skip(1, 1),)), ["branches took longer than they may", "step b skipped"]),
    (m.RunPausing(), ["run pauses once its steps have ended"]),
    (m.RunPaused(), ["run paused"]),
    (m.RunResumed(), ["run resumed"]),
    (m.RunStoodAside(), ["run left its place in the queue to others"]),
    (m.RunWentOn(), ["run has a place in its queue again"]),
    (m.RunStopping("cancelled", "stopped", "signal", 5.0), ["run is being stopped: stopped"]),
    (m.RunEnded("failed", "timed_out"), ["run failed: timed_out"]),
    (m.RunReopened(2, (0,)), ["run retried, round 2: 1 steps run again"]),
    (m.StepMarked(1), ["step b was marked not started by hand"]),
]


def test_every_event_is_told() -> None:
    assert {type(body) for body, _ in BODIES} == set(m.EVENTS) == set(journal.TOLD)
    for number, (body, lines) in enumerate(BODIES):
        event = Event(number, "w", "run:x", number, 0, "engine:", body)
        assert list(journal.told(event, ["a", "b"])) == [f"1970-01-01T00:00:00.000Z {line}" for line in lines]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York"])
def test_a_time_is_shown_with_the_offset_of_its_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    run._clock.cache_clear()
    try:
        # A year, changes of the clock included.
        for micros in range(1_700_000_000_123_000, 1_735_000_000_000_000, 86_399_987_000 // 3):
            wanted = datetime.fromtimestamp(micros / 1_000_000, UTC).astimezone().isoformat(timespec="milliseconds")
            assert run.shown_time(micros) == wanted
    finally:
        monkeypatch.undo()
        time.tzset()
        run._clock.cache_clear()
