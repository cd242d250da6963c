"""A run's place in its queue: given to others while it rests, asked for again with its old time when it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from astrarium.kernel.types import SlotAsk, SlotFree, SlotGranted
from astrarium.runs import message as m
from astrarium.runs.ports import Ask
from astrarium.runs.row import shown_status
from astrarium.runs.run import RunMachine
from astrarium.runs.state import Definition
from astrarium.spec.graph import Edge, Graph, Node
from astrarium.spec.ir import flow as f
from tests.contracts.machine import START, Life

QUEUE = "queue/q"
SECOND = 1_000_000


def chain(**more: Any) -> Graph:
    nodes = (Node("gate", "wait"), Node("ship", "noop"))
    return Graph("chain", nodes=nodes, edges=(Edge(0, 1),), **more)


class Line(Life):
    """A run in a queue; notes what it asks of slots."""

    def __init__(self, graph: Graph, **start: Any) -> None:
        super().__init__(RunMachine(), "run:r1", {"g": Definition(graph)})
        self.asked: list[SlotAsk | SlotFree] = []
        self.tell(m.StartRun("g", "chain", "dags", "r1", queue="q", queue_limit=1, **start))

    def _take(self, asked: type, body: Any, follow: list[Any]) -> None:
        super()._take(asked, body, follow)
        self.asked += [one for one in self.machine.react(self.state, body, self.now) if isinstance(one, SlotAsk | SlotFree)]

    def tell(self, *orders: Any) -> None:
        for order in orders:
            self.now += SECOND
            assert self.submit(order), f"{order} changed nothing"

    def asks(self) -> None:
        self.tell(m.StartTry(0, "w1"), m.EndTry(0, 1, ask=Ask("ok?")))

    def grant(self) -> None:
        self.slots[QUEUE] = True
        self.tell(SlotGranted(QUEUE, 1))

    @property
    def shown(self) -> str:
        return shown_status(self.state)[0]


def test_an_awaiting_run_leaves_and_comes_back_with_its_time_and_priority() -> None:
    life = Line(chain(), priority=7)
    life.asks()
    assert life.shown == "waiting" and QUEUE not in life.slots
    life.full = True
    life.tell(m.AnswerAsk(0, "anna"))
    assert life.shown == "queued" and life.slots[QUEUE] is False
    assert life.asked[-1] == SlotAsk(QUEUE, 1, 7, since=START + SECOND)
    assert not life.submit(m.StartTry(1, "w1")), "it has no place"
    life.grant()
    assert life.shown == "running"
    life.tell(m.StartTry(1, "w1"), m.EndTry(1, 1))
    assert life.state.outcome == "succeeded" and QUEUE not in life.slots


def test_who_did_not_wait_at_first_does_not_wait_now() -> None:
    life = Line(chain(), at_once=True)
    life.asks()
    life.full = True
    life.tell(m.AnswerAsk(0, "anna"))
    assert life.shown == "running" and life.slots[QUEUE]


def test_time_in_line_is_not_the_runs_own() -> None:
    life = Line(chain(timeout_s=10.0))
    life.asks()
    life.full = True
    life.tell(m.AnswerAsk(0, "anna"))
    due = life.state.due
    life.now += 100 * SECOND
    assert not life.submit(m.TimeOutRun(1)), "its time does not run out in line"
    life.grant()
    assert life.state.due == due + 101 * SECOND
    assert [job.not_before for job in life.jobs.values() if job.kind == "run_due"] == [life.state.due]


def test_a_run_that_comes_back_can_be_paused_and_stopped() -> None:
    life = Line(chain())
    life.asks()
    life.full = True
    life.tell(m.AnswerAsk(0, "anna"), m.PauseRun())
    assert life.shown == "paused" and QUEUE not in life.slots
    life.tell(m.ResumeRun())
    assert life.shown == "queued" and life.slots[QUEUE] is False
    life.tell(m.StopRun(if_queued=True))
    assert life.state.outcome == "cancelled" and QUEUE not in life.slots


def test_a_queued_run_is_parked_and_begins_after_it_was_resumed() -> None:
    life = Line(chain())
    life.tell(m.StopRun())
    life.full = True
    life.tell(m.ReopenRun(queue="q", queue_limit=1), m.PauseRun())
    assert life.shown == "paused" and QUEUE not in life.slots
    assert not life.submit(m.PauseRun()) and not life.submit(m.ReopenRun()) and not life.submit(SlotGranted(QUEUE, 1))
    life.tell(m.ResumeRun())
    assert life.shown == "queued"
    life.grant()
    life.asks()
    life.full = False
    life.tell(m.AnswerAsk(0, "anna"))
    assert life.shown == "running"


def test_a_parked_run_that_is_stopped_has_ended() -> None:
    life = Line(chain())
    life.tell(m.StopRun())
    life.full = True
    life.tell(m.ReopenRun(queue="q", queue_limit=1), m.PauseRun(), m.StopRun())
    assert life.state.status == "ended" and QUEUE not in life.slots


def test_a_grant_that_comes_after_it_left_again_counts_for_nothing() -> None:
    life = Line(chain())
    life.asks()
    life.full = True
    life.tell(m.AnswerAsk(0, "anna"))
    assert not life.submit(SlotGranted(QUEUE, 1)), "it stands in line again, behind another"
    assert life.shown == "queued"


@pytest.mark.parametrize("runs", [True, False])
def test_branches_take_too_long_while_the_run_is_paused(runs: bool) -> None:
    fan = f.Parallel(("b", "c"), "", "quorum", 2, 30.0)
    nodes = tuple(Node(name, "noop") for name in "abc")
    flow = f.Flow(order=("a", "b", "c"), fields=(f.Field("n", "int"),), blocks=(fan,))
    life = Line(Graph("chain", router="rules", nodes=nodes, flow=flow, max_steps=20), at_once=True)
    life.tell(m.StartTry(0, "w1"), m.EndTry(0, 1))
    if runs:
        life.tell(m.StartTry(1, "w1"))
    life.tell(m.PauseRun())
    assert life.state.status == ("pausing" if runs else "paused")
    life.now += 40 * SECOND
    life.tell(m.ExpireFan(life.jobs["r1/fan/1"].body["at"], 1))
    assert (life.state.status, life.state.outcome) == ("ended", "failed"), "there is no quorum"
