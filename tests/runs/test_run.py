"""The run machine under random orders, over random graphs of both routers."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from hypothesis import given
from hypothesis import strategies as st

from astrarium.kernel.types import SlotGranted, Table
from astrarium.runs import message as m
from astrarium.runs.ports import Ask, Child, StepOutcome
from astrarium.runs.routing.depends import DependsRouter
from astrarium.runs.routing.port import Ended, RunOutcome
from astrarium.runs.row import STEPS, all_rows
from astrarium.runs.run import RunMachine
from astrarium.runs.state import Definition, RunState
from astrarium.spec.graph import Graph, Output, Prepare, Retry, Rule, Tolerate
from tests.contracts.machine import Life, MachineContract, contract
from tests.runs.flow.test_router import flows
from tests.runs.test_depends import dags
from tests.runs.test_rules import NAMES, OUTCOME, WHEN
from tests.runs.test_rules import graph as rules_graph

GRAPH = "g"
QUEUE = "queue/q"
OUTCOMES: tuple[StepOutcome, ...] = get_args(StepOutcome)
RUN_OUTCOMES: tuple[RunOutcome, ...] = get_args(RunOutcome)
CHILDREN = (Child("k1", GRAPH, "kid", "A=1"), Child("k2", GRAPH, "kid"), Child("k3", GRAPH, "kid"))
ASKS = (Ask("ok?"), Ask("two", needed=2), Ask("soon", timeout_s=1.0, on_timeout="rejected"), Ask("v", {"required": ["V"]}))
RULES = st.builds(Rule, st.sampled_from(NAMES), WHEN, st.sampled_from(("", *NAMES)), outcome=OUTCOME)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A graph of either router, dressed with what the machine itself looks at."""
    kind = draw(st.integers(0, 2))
    if kind == 2:
        made = draw(flows())
    elif kind == 1:
        made = rules_graph(*draw(st.lists(RULES, max_size=8)), max_steps=draw(st.integers(1, 15)))
    else:
        made = draw(dags(5))
    retry = st.none() | st.just(Retry(2, 1.0))
    nodes = [_dressed(node, draw(retry), draw(st.booleans()), draw(st.booleans())) for node in made.nodes]
    return _replace(
        made, nodes=tuple(nodes), prepare=draw(st.none() | st.just(Prepare())), timeout_s=draw(st.sampled_from((0.0, 5.0))),
        max_active_steps=draw(st.sampled_from((0, 1, 2))),
    )  # fmt: skip


def _dressed(node: Any, retry: Retry | None, output: bool, tolerate: bool) -> Any:
    made = Tolerate(failure=True) if tolerate else None
    return _replace(node, retry=retry, output=Output(node.name.upper()) if output else None, tolerate=made)


def _replace(struct: Any, **fields: Any) -> Any:
    from msgspec.structs import replace

    return replace(struct, **fields)


def starts(draw: Any) -> m.StartRun:
    surface = draw(st.sampled_from(("", "dags", "dags")))
    return m.StartRun(
        GRAPH, "name", surface, "alias", queue=draw(st.sampled_from(("", "", "q"))) if surface else "",
        chosen=bool(surface) and draw(st.booleans()), parent=draw(st.none() | st.just(m.Parent("p", 1, 0))),
        resolved=draw(st.none() | st.just(m.Resolved(workdir="/"))),
    )  # fmt: skip


def past(draw: Any, start: m.StartRun, run: str, life: Life) -> m.ImportRun:
    """A run that was lived elsewhere: any outcome of any step."""
    definition: Definition = life.things[GRAPH]
    if definition.graph.router != "depends":
        return m.ImportRun(start, "failed", 1, 2, 3)
    steps = tuple(
        m.Inherited(no, no, draw(st.sampled_from(OUTCOMES)), try_no=1, retries=draw(st.integers(0, 2)), started_at=2, ended_at=3)
        for no in range(len(definition.nodes))
        if draw(st.booleans())
    )
    outcome = draw(st.sampled_from(RUN_OUTCOMES))
    router = DependsRouter()
    memo = router.past(definition.plan, [Ended(step.node, step.no, step.outcome) for step in steps], outcome, "imported")
    resolved = draw(st.none() | st.just(m.Resolved()))
    return m.ImportRun(start, outcome, 1, 2, 3, reason="imported", steps=steps, memo=router.dump(memo), resolved=resolved)


def back(draw: Any, state: RunState) -> Any:
    """Going on from the present moment again, as if the steps after a drawn one had not been."""
    router = state.known.router
    no = draw(st.integers(-1, 8))
    told = m.Back(no, router.dump(state.memo), dict(state.document), tuple(later for later in state.steps if later > no))
    return m.ReopenRun(back=told) if router.kind == "rules" else m.ReopenRun()


class TestContract(MachineContract):
    machine: ClassVar[RunMachine] = RunMachine()

    def born(self, data: st.DataObject) -> Life:
        definition = Definition(data.draw(graphs()))
        return Life(self.machine, "run:r1", {GRAPH: definition})

    def rows_of(self, state: RunState) -> list[tuple[Table, tuple[Any, ...]]]:
        if state.status == "new":
            return []
        idle = {no for no, step in state.steps.items() if step.status == "idle" or (not step.try_no and step.status != "done")}
        return [row for row in all_rows(state) if not (row[0] is STEPS and row[1][2] in idle)]

    @contract
    @given(data=st.data())
    def test_who_rests_holds_no_place_and_who_goes_holds_one(self, data: st.DataObject) -> None:
        life = self.born(data)
        for _ in range(data.draw(st.integers(0, 30))):
            life.now += data.draw(st.sampled_from((0, 1, 1_000_000)))
            life.submit(self.order(data, life))
            state: RunState = life.state
            place = life.slots.get(QUEUE)
            if state.rests or state.status in ("new", "ended") or not state.queue:
                assert place is None, f"{state.status} and {place}"
            elif state.in_line:
                assert place is False
            elif not state.aside:
                assert place is True

    def order(self, data: st.DataObject, life: Life) -> Any:
        draw = data.draw
        state: RunState = life.state
        life.full = draw(st.booleans())
        if state.status == "new":
            start = starts(draw)
            kind = draw(st.integers(0, 5))
            if kind == 0:
                return past(draw, start, state.run, life)
            return start if kind < 4 else m.ForkRun(start, "other", 1, -1, prepare=draw(st.booleans()))
        if state.in_line and draw(st.integers(0, 2)):
            life.slots[QUEUE] = True
            return SlotGranted(QUEUE, 3)
        makers = [self.try_, self.try_, self.try_, self.from_outside, self.about_children, self.about_asks, self.odd]
        return draw(st.sampled_from(makers))(draw, state)

    def steps(self, draw: Any, state: RunState, *wanted: str) -> int:
        """A step in one of these states, if there is one, mostly."""
        fit = [no for no, step in state.steps.items() if step.status in wanted]
        return int(draw(st.sampled_from(sorted(fit)))) if fit and draw(st.integers(0, 9)) else int(draw(st.integers(-1, 9)))

    def try_(self, draw: Any, state: RunState) -> Any:
        if not state.prepared and state.known.graph.prepare is not None:
            return m.Resolved(
                (("A", "1"),), error=draw(st.sampled_from(("", "", "", "bad"))), unmet=draw(st.sampled_from(("", "", "no")))
            )
        if draw(st.booleans()):
            return m.StartTry(self.steps(draw, state, "offered", "delayed"), "w1")
        no = self.steps(draw, state, "running")
        step = state.steps.get(no)
        try_no = step.try_no if step is not None and draw(st.integers(0, 9)) else draw(st.integers(0, 3))
        if not draw(st.integers(0, 6)):
            return m.LoseTry(no, try_no, draw(st.booleans()))
        return self.end(draw, no, try_no)

    def end(self, draw: Any, no: int, try_no: int) -> m.EndTry:
        kind = draw(st.integers(0, 9))
        if kind == 0:
            return m.EndTry(no, try_no, ask=draw(st.sampled_from(ASKS)))
        if kind == 1:
            return m.EndTry(no, try_no, children=CHILDREN[: draw(st.integers(0, 3))], max_active=draw(st.integers(0, 2)))
        if kind == 2:
            return m.EndTry(no, try_no, again_in_s=1.0, output="pass")
        if kind == 3:
            patch = draw(st.sampled_from(({"n": 1}, {"n": 3, "tags": ["x"]}, {"n": "no number"})))
            return m.EndTry(no, try_no, patch=patch, code="why", used={"tokens": 1.0}, said=({"fact": "alarm"},))
        outcome = draw(st.just("succeeded") | st.sampled_from(OUTCOMES))
        return m.EndTry(
            no, try_no, outcome, draw(st.none() | st.just("out")), draw(st.none() | st.just({"ok": True})), 1, "said",
            tolerated=draw(st.booleans()), marked=draw(st.booleans()), passed=draw(st.booleans()), partial=draw(st.booleans()),
            retry_in_s=draw(st.sampled_from((None, 0.0, 2.0))), retry_limit=draw(st.integers(0, 2)),
        )  # fmt: skip

    def from_outside(self, draw: Any, state: RunState) -> Any:
        stop = m.StopRun(
            draw(st.sampled_from(RUN_OUTCOMES)),
            "why",
            draw(st.sampled_from(("signal", "cooperative"))),
            draw(st.none() | st.just(1.0)),
        )
        reopen = m.ReopenRun(
            draw(st.none() | st.integers(0, 5)),
            queue=draw(st.sampled_from(("", "", "q"))),
            parent=draw(st.none() | st.just(m.Parent("p", 2, 1))),
        )
        mark = m.MarkStep(draw(st.integers(-1, 6)), draw(st.none() | st.sampled_from(OUTCOMES)))
        due = m.TimeOutRun(draw(st.integers(1, 3)))
        rename = m.RenameRun(draw(st.sampled_from(("other", state.name))))
        expire = m.ExpireFan(draw(st.integers(0, 4)), state.round)
        others = (m.PauseRun(), m.ResumeRun(), m.ResumeRun(), expire)
        return draw(st.sampled_from((stop, reopen, reopen, mark, due, rename, back(draw, state), *others)))

    def about_children(self, draw: Any, state: RunState) -> Any:
        no = self.steps(draw, state, "parent")
        return m.EndChild(
            no,
            draw(st.integers(0, 3)),
            draw(st.sampled_from((state.round, 1))),
            "kid",
            draw(st.sampled_from(RUN_OUTCOMES)),
            {"X": "1"},
        )

    def about_asks(self, draw: Any, state: RunState) -> Any:
        no = self.steps(draw, state, "asking")
        step = state.steps.get(no)
        if draw(st.booleans()):
            return m.TimeOutAsk(no, step.until if step is not None else 7)
        answer = draw(st.sampled_from(({}, {"V": "1"})))
        return m.AnswerAsk(no, draw(st.sampled_from(("anna", "ben"))), draw(st.integers(0, 3)) > 0, answer)

    def odd(self, draw: Any, state: RunState) -> Any:
        """Orders that come at the wrong time."""
        odd = (starts(draw), m.ForkRun(starts(draw), "x", 1, 0), SlotGranted(QUEUE, 1), m.LeavePlace(), m.Resolved())
        return draw(st.sampled_from(odd))
