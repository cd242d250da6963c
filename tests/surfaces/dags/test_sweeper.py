"""The life that sweeps."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from astrarium.kernel.types import Job
from astrarium.surfaces.dags.machines.sweeper import EVERY_S, EndSweep, NoteRemoved, StartSweeping, SweeperMachine
from tests.contracts.machine import START, Life, MachineContract

ORDERS = st.one_of(
    st.just(StartSweeping()),
    st.builds(EndSweep, st.integers(0, 10)),
    st.builds(NoteRemoved, st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9)), max_size=3).map(tuple)),
)


class TestSweeper(MachineContract):
    machine = SweeperMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "sweeper:ws", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        return data.draw(ORDERS)


def test_it_is_due_at_once_and_then_every_hour() -> None:
    life = Life(SweeperMachine(), "sweeper:ws", {})
    life.submit(EndSweep(0))
    assert not life.jobs
    life.submit(StartSweeping())
    life.submit(StartSweeping())
    assert life.jobs == {"sweeper:ws/sweep": Job("sweeper:ws/sweep", "sweep", "sweeper:ws", {}, START)}
    life.submit(EndSweep(7))
    assert life.jobs["sweeper:ws/sweep"].not_before == START + EVERY_S * 1_000_000


def test_what_was_removed_is_owed_its_rest() -> None:
    life = Life(SweeperMachine(), "sweeper:ws", {})
    for name in ("a", "b"):
        life.submit(NoteRemoved(((name, 5),)))
    assert {id_: job.body for id_, job in life.jobs.items()} == {
        "sweeper:ws/removed/1": {"runs": [["a", 5]]},
        "sweeper:ws/removed/2": {"runs": [["b", 5]]},
    }
