"""The rules router over random flows, and the order in which rules go."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.runs import message as m
from astrarium.runs.ports import Child
from astrarium.runs.routing.port import Chose, Close, Ended, Fan, MoveOn, Question, Visit
from astrarium.runs.routing.rules import RulesRouter
from astrarium.runs.routing.rules.merge import Conflict, merge
from astrarium.runs.routing.rules.state import Shape
from astrarium.runs.run import RunMachine
from astrarium.runs.state import Definition
from astrarium.spec.graph import Graph, Node
from astrarium.spec.ir import flow as f
from tests.contracts.machine import Life
from tests.contracts.router import Play, RouterContract, contract, succeed

NAMES = ("a", "b", "c", "d", "e")
NAME = st.sampled_from(NAMES)
FIELDS = (f.Field("n", "int", default=0), f.Field("word", "str"), f.Field("tags", "list", reducer="union"))


@st.composite
def fans(draw: st.DrawFn) -> f.Parallel:
    targets = tuple(draw(st.lists(NAME, min_size=1, max_size=3, unique=True)))
    strategy = draw(st.sampled_from(("all", "any", "race", "quorum")))
    return f.Parallel(targets, draw(st.sampled_from(("", *NAMES))), strategy, draw(st.integers(1, len(targets))))


ACTIONS = st.one_of(
    st.builds(f.Goto, NAME),
    st.builds(f.Halt, st.sampled_from(("", "enough"))),
    fans(),
    st.builds(f.Revisit, NAME, st.sampled_from((0.0, 1.0)), st.integers(1, 3)),
    st.builds(f.Assert, st.sampled_from(("alarm", "note")), st.sampled_from(({}, {"value": "red"}))),
    st.builds(f.Retract, st.sampled_from(("alarm", "note"))),
    st.builds(f.Interrupt, st.just("sure?")),
)
TESTS = st.one_of(
    st.builds(f.Test, st.just("n"), st.sampled_from(("lt", "ge", "eq", "ne")), st.integers(0, 3)),
    st.builds(f.Test, st.just("alarm"), st.just("text"), st.just("red")),
    st.builds(f.Test, st.just("$outcome"), st.just("eq"), st.sampled_from(("succeeded", "failed"))),
    st.builds(f.Test, st.just("$visits"), st.just("gt"), st.integers(0, 2)),
)


@st.composite
def flows(draw: st.DrawFn) -> Graph:
    rules = tuple(
        f.FlowRule(
            f"r{number}", tuple(draw(st.lists(ACTIONS, max_size=3))), draw(st.sampled_from(("", *NAMES))),
            tuple(draw(st.lists(TESTS, max_size=2))), salience=draw(st.integers(-1, 1)),
        )
        for number in range(draw(st.integers(0, 6)))
    )  # fmt: skip
    order = tuple(draw(st.permutations(NAMES)))[: draw(st.integers(1, 5))]
    flow = f.Flow("", order, rules, tuple(draw(st.lists(fans(), max_size=2))), FIELDS)
    return Graph(
        "flow", router="rules", nodes=tuple(Node(name, "noop") for name in NAMES), flow=flow, max_steps=draw(st.integers(1, 12))
    )


class TestContract(RouterContract):
    router: ClassVar[RulesRouter] = RulesRouter()
    graphs: ClassVar[st.SearchStrategy[Graph]] = flows()

    @contract
    @given(data=st.data())
    def test_places_rise_by_one_and_branches_share_theirs(self, data: st.DataObject) -> None:
        play = self.played(data)
        while play.open:
            self.end_one(data, play)
        place = -1
        for move in play.order:
            if isinstance(move, Fan):
                assert move.at == place + 1
                place = move.at
            elif isinstance(move, Visit) and move.branch:
                assert move.at == place
            elif isinstance(move, Visit | Question):
                place += 1
                assert place == (move.no if move.at < 0 else move.at)


def flow(*rules: f.FlowRule, **more: Any) -> Graph:
    nodes = tuple(Node(name, "noop") for name in NAMES)
    return Graph("flow", router="rules", nodes=nodes, flow=f.Flow("", NAMES, rules, fields=FIELDS, **more))


def after(graph: Graph, document: dict[str, Any] | None = None, **ended: Any) -> list[MoveOn]:
    """What follows from the end of `a`."""
    play = Play(RulesRouter(), graph)
    play.document = document or {"n": 1, "word": "x", "tags": []}
    play.begin()
    return play.end(Ended(0, 0, **{"outcome": "succeeded", **ended}))


def rule(id: str, *then: f.Action, tests: tuple[f.Test, ...] = (), **more: Any) -> f.FlowRule:
    return f.FlowRule(id, then, more.pop("node", "a"), tests, **more)


N1, WORD = f.Test("n", "text", "1"), f.Test("word", "text", "x")


@pytest.mark.parametrize(
    ("rules", "first"),
    [
        ((rule("one", f.Goto("b")), rule("two", f.Goto("c"))), "one"),
        ((rule("one", f.Goto("b")), rule("two", f.Goto("c"), salience=1)), "two"),
        ((rule("node", f.Goto("b")), rule("field", f.Goto("c"), tests=(N1,))), "field"),
        ((rule("n", f.Goto("b"), tests=(N1,)), rule("word", f.Goto("c"), tests=(WORD,))), "word"),
        ((rule("word", f.Goto("b"), tests=(WORD,)), rule("n", f.Goto("c"), tests=(N1,))), "word"),
        ((rule("map", f.Goto("b"), tests=(N1,)), rule("cel", f.Goto("c"), cel="state.word == 'x'")), "cel"),
        ((rule("cel", f.Goto("b"), cel="state.n > 0"), rule("map", f.Goto("c"), tests=(N1,))), "cel"),
        ((rule("every", f.Goto("b"), node=""), rule("goes", f.Halt())), "goes"),
    ],
)
def test_the_order_of_rules(rules: tuple[f.FlowRule, ...], first: str) -> None:
    chose = after(flow(*rules))[0]
    assert isinstance(chose, Chose) and chose.rule == first


def test_patterns_mappings_and_conditions_share_one_order() -> None:
    pytest.importorskip("clips")
    rules = (
        rule("map", f.Goto("b"), tests=(WORD,)),
        rule("raw", f.Goto("c"), node="", clips='(node-id (id a)) (word (value "x")) (n (value ?v&:(eq ?v "1")))'),
        rule("cel", f.Goto("d"), cel="state.n == 1"),
    )
    assert isinstance(chose := after(flow(*rules))[0], Chose) and chose.rule == "map", "same rank: declared first"
    assert isinstance(chose := after(flow(*rules[1:]))[0], Chose) and chose.rule == "raw"
    unmet = rule("raw", f.Goto("c"), clips='(word (value "y"))')
    assert isinstance(chose := after(flow(unmet))[0], Chose) and chose.kind == "continue"


@pytest.mark.parametrize("text", ["(word (value", "(word (value ?x&:(nonsense ?x)))"])
def test_patterns_clips_does_not_take_are_refused_at_once(text: str) -> None:
    pytest.importorskip("clips")
    with pytest.raises(Invalid, match="CLIPS does not take"):
        RulesRouter().plan(flow(rule("raw", f.Goto("b"), clips=text)))


def test_precedence_is_interrupt_halt_goto_parallel_retry() -> None:
    actions: list[f.Action] = [f.Revisit("b"), f.Parallel(("b", "c")), f.Goto("b"), f.Halt("h"), f.Interrupt("?")]
    kinds = []
    while actions:
        chose = after(flow(rule("r", *actions)))[0]
        assert isinstance(chose, Chose)
        kinds.append(chose.kind)
        actions.pop()
    assert kinds == ["interrupt", "halt", "goto", "parallel", "retry"]


def test_what_a_rule_says_is_seen_by_the_next() -> None:
    rules = (
        rule("seen", f.Goto("d"), tests=(f.Test("alarm", "text", "red"),)),
        rule("say", f.Assert("alarm", {"value": "red"})),
    )
    chose = after(flow(*rules))[0]
    assert isinstance(chose, Chose) and (chose.rule, chose.said[0].template, chose.said[0].source) == ("seen", "alarm", "say")


@pytest.mark.parametrize(
    ("test", "value", "good"),
    [
        (f.Test("n", "text", "True"), True, True), (f.Test("n", "text", "1"), 1, True), (f.Test("n", "eq", 1), True, False),
        (f.Test("n", "eq", 1), 1.0, True), (f.Test("n", "lt", 2), "1", False), (f.Test("n", "ne", 2), "x", True),
        (f.Test("n", "in", [1, 2]), 2, True), (f.Test("n", "ge", "b"), "c", True), (f.Test("zz", "ne", 1), 5, True),
        (f.Test("zz", "eq", 1), 1, False),
    ],
)  # fmt: skip
def test_comparisons_are_typed(test: f.Test, value: Any, good: bool) -> None:
    chose = after(flow(rule("r", f.Halt(), tests=(test,))), {"n": value})[0]
    assert isinstance(chose, Chose) and chose.kind == ("halt" if good else "continue")


def test_budgets_end_a_run() -> None:
    made = flow(budgets={"": f.Budget(tokens=10), "b": f.Budget(cost=1.0)})
    play = Play(RulesRouter(), made)
    play.begin()
    play.end(Ended(0, 0, "succeeded", used={"tokens": 10, "cost": 5.0}))
    assert play.end(Ended(1, 1, "succeeded", used={"cost": 1.5}))[-1] == Close("failed", "budget_exhausted")
    assert after(made, used={"tokens": 11})[-1] == Close("failed", "budget_exhausted")


def test_names_that_lead_nowhere_are_told_at_once() -> None:
    wrong = flow(
        rule("r", f.Goto("x"), f.Parallel(("a", "a"), "y", "quorum", 3), f.Interrupt("?", on_timeout="z", output_field="q")),
        blocks=(f.Parallel(("w",)),),
    )
    with pytest.raises(Invalid) as refused:
        RulesRouter().plan(wrong)
    assert [problem.path.removeprefix("flow.") for problem in refused.value.problems] == [
        "blocks[0].targets", "rules[0].then[0].target", "rules[0].then[1].join", "rules[0].then[1].targets",
        "rules[0].then[1].quorum", "rules[0].then[2].on_timeout", "rules[0].then[2].output_field",
    ]  # fmt: skip


def test_a_resume_goes_on_behind_branches_that_were_one_way_again() -> None:
    made = msgspec.structs.replace(flow(blocks=(f.Parallel(("a", "b"), "d"),)), max_steps=1)
    play = Play(RulesRouter(), made)
    play.begin()
    play.end(succeed(0, 0))
    assert play.end(succeed(1, 1))[-1] == Close("failed", "max_steps")
    play.reset()
    play.reload()
    assert play.begin() == [Visit(3, 2, 1)]


@pytest.mark.parametrize(
    ("reducer", "base", "values", "made"),
    [
        ("sum", 10, (11, 13), 14), ("append", ["s"], (["s", "a"], ["b"]), ["s", "a", "b"]),
        ("union", ["a"], (["a", "b"], ["a", "b", "c"]), ["a", "b", "c"]), ("max", 1, (5, 3), 5), ("min", 9, (5, 3), 3),
        ("last", 0, (1, 2), 2),
    ],
)  # fmt: skip
def test_reducers(reducer: f.Reducer, base: Any, values: tuple[Any, ...], made: Any) -> None:
    patches = [{"x": value} for value in values]
    assert merge({"x": base}, patches, {"x": f.Field("x", reducer=reducer)}) == {"x": made}
    with pytest.raises(Conflict):
        merge({"x": base}, patches, {})
    assert merge({"x": base}, patches[:1], {}) == {"x": values[0]}


@contract
@given(
    st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3)),
    st.lists(st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3)), min_size=1, max_size=4),
)
def test_branches_in_any_order_agree_or_conflict_alike(base: dict[str, int], patches: list[dict[str, int]]) -> None:
    """Without reducers the order of branches means nothing."""

    def outcome(ordered: list[dict[str, int]]) -> Any:
        try:
            return merge(base, ordered, {})
        except Conflict:
            return "conflict"

    assert outcome(patches) == outcome(patches[::-1])


def test_a_state_is_checked_field_by_field() -> None:
    fields = (
        f.Field("s", "str"), f.Field("n", "int", nullable=True), f.Field("x", "float", schema={"minimum": 0}), f.Field("d", "dict"),
    )  # fmt: skip
    shape = Shape(f.Flow(fields=fields))
    assert [one.path for one in shape.problems({"s": 1, "n": True, "x": -1, "d": [], "q": 0})] == [
        "state.s", "state.n", "state.x", "state.d", "state.q",
    ]  # fmt: skip
    assert list(shape.problems({"s": "a", "n": None, "x": 2, "d": {}})) == []
    assert shape.start({}) == {"s": "", "n": None, "x": 0.0, "d": {}}


def played(graph: Graph) -> Life:
    life = Life(RunMachine(), "run:r1", {"g": Definition(graph)})
    assert life.submit(m.StartRun("g", "flow", "", "r1"))
    return life


def test_a_child_runs_last_state_becomes_the_parents_patch() -> None:
    life = played(flow())
    child = Child("k", "h", "kid", state={"m": 5})
    life.submit(m.StartTry(0, "w1"))
    life.submit(m.EndTry(0, 1, children=(child,), fields={"n": "m", "word": "missing"}))
    life.submit(m.EndChild(0, 0, 1, "run-2", state={"m": 9, "secret": 1}))
    assert life.state.document == {"n": 9, "word": "", "tags": []}
    assert life.state.steps[1].status == "offered"


def test_a_dropped_step_is_not_owed_and_its_late_report_changes_nothing() -> None:
    life = played(flow(blocks=(f.Parallel(("a", "b"), "d", "race"),)))
    for no in (0, 1):
        life.submit(m.StartTry(no, "w1"))
    life.submit(m.EndTry(0, 1, patch={"n": 3}))
    assert (life.state.steps[1].outcome, life.state.document["n"]) == ("cancelled", 3)
    assert life.submit(m.EndTry(1, 1, patch={"n": 4})) == []
    assert [job for job in life.jobs if job.startswith("r1/1")] == ["r1/1/stop"]
