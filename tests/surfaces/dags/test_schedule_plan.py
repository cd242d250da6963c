"""Slots of schedules: across changes of the clocks, missed ones, and what becomes of one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrarium.surfaces.dags.machines.plan import (
    MOST_MISSED,
    SECOND,
    Found,
    Next,
    Plan,
    first_slot,
    judge,
    last_slot,
    missed_starts,
    next_of,
)

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


def at(text: str) -> int:
    """An ISO time as microseconds; UTC when it names no zone."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * SECOND


def plan(*start: str, zone: str = "UTC", **more: object) -> Plan:
    return Plan("a", "a.yaml", zone, start, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zone", "cron", "after", "slots"),
    [
        # Clocks go forward at 02:00: what lies in the missing hour happens once, right after it; what recurs each hour does not.
        ("Europe/Berlin", "30 2 * * *", "2024-03-30T12:00", ["2024-03-31T03:00+02:00", "2024-04-01T02:30+02:00"]),
        ("Europe/Berlin", "*/15 2 * * *", "2024-03-30T12:00", ["2024-04-01T02:00+02:00", "2024-04-01T02:15+02:00"]),
        ("Europe/Berlin", "0 * * * *", "2024-03-31T00:30", ["2024-03-31T03:00+02:00", "2024-03-31T04:00+02:00"]),
        ("America/New_York", "15 2 * * *", "2024-03-09T12:00", ["2024-03-10T03:00-04:00", "2024-03-11T02:15-04:00"]),
        # Clocks go back at 03:00: a fixed time happens once, what recurs goes on by the clock of the wall twice.
        ("Europe/Berlin", "30 2 * * *", "2024-10-26T12:00", ["2024-10-27T02:30+02:00", "2024-10-28T02:30+01:00"]),
        ("Europe/Berlin", "*/30 2 * * *", "2024-10-26T12:00",
         ["2024-10-27T02:00+02:00", "2024-10-27T02:30+02:00", "2024-10-27T02:00+01:00", "2024-10-27T02:30+01:00"]),
        ("Europe/Berlin", "0 3 * * *", "2024-10-26T12:00", ["2024-10-27T03:00+01:00"]),
        ("America/New_York", "30 1 * * *", "2024-11-02T12:00", ["2024-11-03T01:30-04:00", "2024-11-04T01:30-05:00"]),
        ("UTC", "CRON_TZ=Asia/Kolkata 0 9 * * *", "2024-03-31T00:00", ["2024-03-31T03:30", "2024-04-01T03:30"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2024-04-06T00:00", ["2024-04-07T01:45+11:00", "2024-04-08T01:45+10:30"]),
        ("UTC", "0 0 29 2 *", "2024-03-01T00:00", ["2028-02-29T00:00"]),
    ],
)  # fmt: skip
def test_slots_across_changes_of_the_clocks(zone: str, cron: str, after: str, slots: list[str]) -> None:
    found, moment = [], at(after)
    for _ in slots:
        moment = first_slot((cron,), zone, moment)
        found.append(moment)
    assert found == [at(slot) for slot in slots]
    back, moment = [], found[-1] + 1
    for _ in slots:
        moment = last_slot((cron,), zone, moment)
        back.append(moment)
    assert back == found[::-1]


def test_expressions_that_meet_are_one_slot() -> None:
    both = plan("0 8 * * *", "*/30 8 * * *", stop=("0 8 * * *",), restart=("30 8 * * *",))
    assert next_of(both, at("2024-01-01T07:00")) == Next(at("2024-01-01T08:00"), ("stop", "start"), at("2024-01-01T08:00"))
    assert next_of(both, at("2024-01-01T08:00")) == Next(at("2024-01-01T08:30"), ("restart", "start"), at("2024-01-01T08:30"))
    assert next_of(plan(stop=("0 8 * * *",)), at("2024-01-01T07:00")) == Next(at("2024-01-01T08:00"), ("stop",))
    assert next_of(plan(), 0) == Next()


def test_what_is_caught_up_on() -> None:
    now = at("2024-01-01T12:00")
    since, until = now - 10 * HOUR, now - MINUTE
    hourly = ("0 * * * *",)
    assert missed_starts(plan(*hourly), since, until, now) == ()
    assert missed_starts(plan(*hourly, catchup="latest", window_s=7200), since, until, now) == (now - HOUR,)
    assert missed_starts(plan(*hourly, catchup="latest", window_s=1800), since, until, now) == ()
    assert missed_starts(plan(*hourly, catchup="all", window_s=3 * 3600), since, until, now) == (
        now - 3 * HOUR,
        now - 2 * HOUR,
        now - HOUR,
    )
    assert missed_starts(plan(*hourly, catchup="all", window_s=86_400), since, until, now)[0] == since
    many = missed_starts(plan("* * * * *", catchup="all", window_s=86_400), now - 24 * HOUR, until, now)
    assert (len(many), many[-1]) == (MOST_MISSED, until)


CRONS = ("* * * * *", "*/7 * * * *", "30 2 * * *", "0 */3 * * 1-5", "15 1,2,3 * * *", "CRON_TZ=Europe/Berlin 30 2 * * *")


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(CRONS), min_size=1, max_size=3), st.sampled_from(("UTC", "Europe/Berlin", "America/New_York")),
    st.integers(at("2024-03-29T00:00") // SECOND, at("2024-11-05T00:00") // SECOND), st.integers(1, 6 * 3600),
)  # fmt: skip
def test_missed_ones_are_those_that_would_have_come(crons: list[str], zone: str, since_s: int, span_s: int) -> None:
    since, until = since_s * SECOND, (since_s + span_s) * SECOND
    whole = plan(*crons, zone=zone, catchup="all", window_s=span_s)
    expected, slot = [], first_slot(whole.start, zone, since - 1)
    while slot and slot <= until:
        expected.append(slot)
        slot = first_slot(whole.start, zone, slot)
    assert list(missed_starts(whole, since, until, until)) == expected


BUSY = Found(("r1",), ("r1",))
IN_LINE = Found(("r1",), ())


@pytest.mark.parametrize(
    ("about", "act", "late", "stopping", "found", "does", "why"),
    [
        ({}, "start", False, False, Found(), "fire", ""),
        ({}, "start", False, False, BUSY, "skip", "a run is active"),
        ({}, "start", False, False, IN_LINE, "skip", "a run is active"),
        ({}, "start", False, False, Found(newer=True), "skip", "at or after"),
        ({}, "start", False, False, Found(succeeded=True), "fire", ""),
        ({"skip_if_successful": True}, "start", False, False, Found(succeeded=True), "skip", "skipIfSuccessful"),
        ({}, "start", False, False, Found(problem="no such step type"), "skip", "no such step type"),
        ({}, "start", False, True, Found(), "skip", "still waits"),
        ({"overlap": "all"}, "start", False, False, BUSY, "fire", ""),
        ({"overlap": "queue"}, "start", False, False, BUSY, "queue", ""),
        ({"overlap": "queue"}, "start", False, False, Found(), "queue", ""),
        ({"overlap": "cancel"}, "start", False, False, BUSY, "defer", ""),
        ({"overlap": "cancel"}, "start", False, False, IN_LINE, "fire", ""),
        ({"queued": True}, "start", False, False, Found(), "queue", ""),
        ({"catchup": "all"}, "start", True, False, BUSY, "queue", ""),
        ({"catchup": "latest"}, "start", True, False, BUSY, "skip", "a run is active"),
        ({}, "stop", False, False, BUSY, "fire", ""),
        ({}, "stop", False, False, IN_LINE, "skip", "nothing is running"),
        ({}, "restart", False, False, BUSY, "defer", ""),
        ({}, "restart", False, False, Found(), "fire", ""),
        ({}, "restart", False, True, BUSY, "skip", "still waits"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_slot(
    about: dict[str, object], act: str, late: bool, stopping: bool, found: Found, does: str, why: str
) -> None:
    verdict = judge(plan("* * * * *", **about), act, late, stopping, found)
    assert ("queue" if verdict.queued else verdict.does) == does
    assert why in verdict.why
