"""Whatever happens to a run, its log replayed gives the same moves."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from astrarium.kernel.machine import Known
from astrarium.kernel.types import Event
from astrarium.runs.past.replay import replay
from tests.contracts.machine import Life, contract
from tests.runs import test_run as random_runs

ORDERS = random_runs.TestContract()
"""Draws the next order to a run; its graph is of edges, of short rules, or of rules."""


def written(life: Life) -> list[Event]:
    """The log as a store gives it back."""
    known = Known(life.machine)
    return [
        Event(seq, "ws", life.stream, seq, at, "engine", known.decode(type(body).__name__, 1, msgspec.json.encode(body)))
        for seq, (at, body) in enumerate(life.log, 1)
    ]


@contract
@given(data=st.data())
def test_the_same_moves_follow(data: Any) -> None:
    life = ORDERS.born(data)
    for _ in range(data.draw(st.integers(1, 40))):
        life.now += 1_000_000
        life.submit(ORDERS.order(data, life))
    if life.state.status == "new" or type(life.log[0][1]).__name__ == "RunImported":
        return
    found = replay("r1", written(life), life.state, life.state.known)
    assert found.difference is None, found.difference
    assert found.state == life.state.document
