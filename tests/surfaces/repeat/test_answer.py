"""The life of an Idempotency-Key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from astrarium.errors import Conflict, Refused
from astrarium.kernel.types import Facts
from astrarium.surfaces.repeat.machines.answer import (
    DAY_US,
    LEASE_US,
    Answer,
    AnswerMachine,
    DropRequest,
    ForgetAnswer,
    KeepAnswer,
    RequestTaken,
    TakeRequest,
    day_before,
    stream_of,
)
from tests.contracts.machine import SCOPE, Life, MachineContract

NOW = 1_700_000_000_000_000
KEPT = KeepAnswer(201, (("content-type", "application/json"),), b"\xff{}")


class TestContract(MachineContract):
    machine = AnswerMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, stream_of("k", NOW), {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        takes = st.builds(TakeRequest, st.sampled_from(["one", "other"]))
        return data.draw(st.one_of(takes, st.just(KEPT), st.just(DropRequest()), st.just(ForgetAnswer())))


class Key:
    def __init__(self, now: int = NOW, before: Answer | None = None) -> None:
        self.machine = AnswerMachine()
        self.now = now
        self.state = self.machine.new(stream_of("k", now), SCOPE)
        self.before = before

    def submit(self, command: Any) -> list[Any]:
        streams = {day_before(self.state.stream): self.before} if self.before is not None else {}
        events = self.machine.decide(self.state, command, Facts(self.now, streams))
        for event in events:
            self.machine.evolve(self.state, event, self.now)
        return events


def test_the_first_request_has_the_key_until_its_answer_is_kept() -> None:
    key = Key()
    assert key.submit(TakeRequest("one")) == [RequestTaken("one", NOW)]
    with pytest.raises(Refused, match="under way"):
        key.submit(TakeRequest("one"))
    with pytest.raises(Refused, match="another request"):
        key.submit(TakeRequest("other"))
    key.submit(KEPT)
    assert key.submit(TakeRequest("one")) == [] and key.state.kept is not None and key.state.kept.body == KEPT.body
    with pytest.raises(Refused, match="another request"):
        key.submit(TakeRequest("other"))


def test_a_key_whose_request_was_refused_or_died_is_free() -> None:
    key = Key()
    key.submit(TakeRequest("one"))
    key.submit(DropRequest())
    assert key.submit(TakeRequest("other"))
    key.now += LEASE_US
    with pytest.raises(Refused, match="another request"):
        key.submit(TakeRequest("one"))
    assert key.submit(TakeRequest("other")), "a minute later its server is taken for dead"


def test_a_key_counts_for_a_day_over_midnight() -> None:
    first = Key(NOW)
    first.submit(TakeRequest("one"))
    first.submit(KEPT)
    for later, repeated in ((DAY_US - 1, True), (DAY_US, False)):
        second = Key(NOW + later, first.state)
        assert second.state.stream != first.state.stream
        assert (second.submit(TakeRequest("one")) == []) is repeated


def test_what_was_forgotten_is_no_ones() -> None:
    key = Key()
    assert key.submit(ForgetAnswer()) == [], "there is nothing to forget"
    key.submit(TakeRequest("one"))
    key.submit(ForgetAnswer())
    assert key.machine.ended(key.state) and key.state.kept is None
    for order in (TakeRequest("one"), KEPT, DropRequest()):
        with pytest.raises(Conflict):
            key.submit(order)
