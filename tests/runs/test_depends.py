"""The depends router: tables of joins, policies, phases and rounds, and random graphs against a plain reading of the rules."""

from __future__ import annotations

import random
from typing import Any, ClassVar, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.runs.routing.depends import DependsRouter
from astrarium.runs.routing.port import Abort, Close, Ended, MoveOn, Skip, Visit
from astrarium.spec.graph import Edge, EdgeOn, Graph, Join, Node, Phase
from tests.contracts.router import OUTCOMES, Play, RouterContract, ends, succeed

PHASES: tuple[Phase, ...] = get_args(Phase)


@st.composite
def dags(draw: st.DrawFn, most: int = 8, phases: bool = True, dialect: str | None = None) -> Graph:
    """Any graph whose edges point from a smaller to a larger position, then renumbered at random."""
    size = draw(st.integers(0, most))
    place = draw(st.permutations(range(size)))
    in_phase = st.sampled_from((*["main"] * 5, *PHASES)) if phases else st.just("main")
    nodes = tuple(
        Node(f"n{number}", "noop", phase=draw(in_phase), join=draw(st.sampled_from(get_args(Join)))) for number in range(size)
    )
    edges = []
    if size > 1:
        number = st.integers(0, size - 1)
        pairs = st.lists(st.tuples(number, number, st.sampled_from(get_args(EdgeOn))), max_size=14)
        edges = [Edge(place[min(a, b)], place[max(a, b)], on) for a, b, on in draw(pairs) if a != b]
    return Graph("g", nodes=nodes, edges=tuple(edges), dialect=dialect or draw(st.sampled_from(("dag", "release"))))


class TestContract(RouterContract):
    router: ClassVar[DependsRouter] = DependsRouter()
    graphs: ClassVar[st.SearchStrategy[Graph]] = dags()


def graph(size: int, *edges: tuple[int, int] | tuple[int, int, EdgeOn], any_at: int = -1, dialect: str = "dag") -> Graph:
    nodes = tuple(Node(f"n{number}", "noop", join="any" if number == any_at else "all") for number in range(size))
    return Graph("g", dialect=dialect, nodes=nodes, edges=tuple(Edge(*edge) for edge in edges))


def chain(size: int) -> Graph:
    return graph(size, *((number, number + 1) for number in range(size - 1)))


def phased(*phases: Phase) -> Graph:
    return Graph("g", nodes=tuple(Node(f"{phase}{number}", "noop", phase=phase) for number, phase in enumerate(phases)))


def play(of: Graph, begin: bool = True) -> Play:
    run = Play(DependsRouter(), of)
    if begin:
        run.begin()
    return run


def visit(node: int) -> Visit:
    return Visit(node, node)


def end(node: int, outcome: Any = "succeeded", **flags: bool) -> Ended:
    return Ended(node, node, outcome, **flags)


TAKEN, SKIPPED, ABORTED = Visit(1, 1), Skip(1, 1), Abort(1, 1)


@pytest.mark.parametrize(
    ("ended", "success", "failure", "always"),
    [
        (end(0), TAKEN, SKIPPED, TAKEN),
        (end(0, partial=True), TAKEN, SKIPPED, TAKEN),
        (end(0, "failed", tolerated=True), TAKEN, SKIPPED, TAKEN),
        (end(0, "timed_out", tolerated=True), TAKEN, SKIPPED, TAKEN),
        (end(0, "failed", tolerated=True, marked=True), TAKEN, SKIPPED, TAKEN),
        (end(0, "skipped", passed=True), TAKEN, SKIPPED, TAKEN),
        (end(0, "skipped"), SKIPPED, SKIPPED, SKIPPED),
        (end(0, "failed"), ABORTED, TAKEN, TAKEN),
        (end(0, "timed_out"), ABORTED, TAKEN, TAKEN),
        (end(0, "broken"), ABORTED, TAKEN, TAKEN),
        (end(0, "lost"), ABORTED, TAKEN, TAKEN),
        (end(0, "rejected"), ABORTED, TAKEN, TAKEN),
        (end(0, "rejected", tolerated=True), ABORTED, TAKEN, TAKEN),
        (end(0, "cancelled"), ABORTED, SKIPPED, TAKEN),
        (end(0, "aborted"), ABORTED, ABORTED, ABORTED),
    ],
)
@pytest.mark.parametrize("dialect", ["dag", "release"])
def test_what_an_edge_becomes(ended: Ended, success: MoveOn, failure: MoveOn, always: MoveOn, dialect: str) -> None:
    for on, expected in (("success", success), ("failure", failure), ("always", always)):
        run = play(graph(2, (0, 1, on), dialect=dialect))  # type: ignore[arg-type]
        if dialect == "release" and expected == ABORTED:
            expected = SKIPPED
        assert run.end(ended)[0] == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("succeeded", "succeeded", visit(2)),
        ("succeeded", "skipped", Skip(2, 2)),
        ("succeeded", "failed", Abort(2, 2)),
        ("skipped", "failed", Abort(2, 2)),
        ("skipped", "skipped", Skip(2, 2)),
    ],
)
def test_join_all_waits_for_all(first: str, second: str, expected: MoveOn) -> None:
    for one, other in ((first, second), (second, first)):
        run = play(graph(3, (0, 2), (1, 2)))
        assert run.end(end(0, one)) == []
        assert run.end(end(1, other))[0] == expected


def test_join_any_goes_at_the_first_taken_edge() -> None:
    run = play(graph(4, (0, 3), (1, 3), (2, 3), any_at=3))
    assert run.end(end(0, "failed")) == []
    assert run.end(end(1)) == [visit(3)]
    assert run.end(end(2)) == []
    assert run.end(end(3)) == [Close("failed")]


@pytest.mark.parametrize(
    ("first", "second", "expected"), [("failed", "skipped", Abort(2, 2)), ("skipped", "skipped", Skip(2, 2))]
)
def test_join_any_with_nothing_taken_is_as_join_all(first: str, second: str, expected: MoveOn) -> None:
    run = play(graph(3, (0, 2), (1, 2), any_at=2))
    assert run.end(end(0, first)) == []
    assert run.end(end(1, second))[0] == expected


def test_two_edges_between_the_same_nodes_both_count() -> None:
    both = graph(2, (0, 1), (0, 1, "failure"), any_at=1)
    assert play(both).end(end(0)) == [visit(1)]
    assert play(both).end(end(0, "failed")) == [visit(1)]


def test_a_cascade_of_ten_thousand_is_one_answer_in_order() -> None:
    run = play(chain(10_000))
    moves = run.end(end(0, "failed"))
    assert moves == [*(Abort(node, node) for node in range(1, 10_000)), Close("failed")]


def test_a_cascade_meets_again() -> None:
    """A diamond behind a skipped step: its join is answered once, after both sides."""
    run = play(graph(5, (0, 1), (0, 2), (1, 3), (2, 3), (3, 4)))
    assert run.end(end(0, "skipped")) == [*(Skip(node, node) for node in (1, 2, 3, 4)), Close("succeeded")]


@pytest.mark.parametrize(
    ("outcomes", "close"),
    [
        ([end(0), end(1)], Close("succeeded")),
        ([end(0), end(1, "skipped")], Close("succeeded")),
        ([end(0, "skipped"), end(1, "skipped")], Close("succeeded")),
        ([end(0), end(1, "failed")], Close("failed")),
        ([end(0), end(1, "broken")], Close("failed")),
        ([end(0), end(1, "cancelled")], Close("failed")),
        ([end(0, "failed"), end(1, "rejected")], Close("rejected")),
        ([end(0), end(1, "failed", tolerated=True)], Close("partial")),
        ([end(0), end(1, partial=True)], Close("partial")),
        ([end(0, "failed"), end(1, partial=True)], Close("failed")),
        ([end(0, "skipped"), end(1, partial=True)], Close("partial")),
        ([end(0, "failed", tolerated=True), end(1, "failed", tolerated=True)], Close("failed")),
        ([end(0, "skipped"), end(1, "failed", tolerated=True)], Close("failed")),
        ([end(0, "failed", tolerated=True), end(1, "failed", marked=True)], Close("partial")),
        ([end(0, "failed", marked=True), end(1, "skipped")], Close("succeeded")),
    ],
)
def test_the_outcome_of_a_run(outcomes: list[Ended], close: Close) -> None:
    run = play(graph(2))
    for ended in outcomes:
        run.end(ended)
    assert run.close == close


def test_in_a_release_tolerated_failures_alone_do_not_fail() -> None:
    run = play(graph(1, dialect="release"))
    assert run.end(end(0, "failed", tolerated=True)) == [Close("partial")]


def test_phases_follow_each_other() -> None:
    run = play(phased("exit", "on_failure", "on_success", "main", "init", "on_cancel", "on_wait", "exit"))
    assert list(run.open) == [4]
    assert run.end(end(4)) == [visit(3)]
    assert run.end(end(3)) == [visit(2)]
    assert run.end(end(2)) == [visit(0), visit(7)]
    assert run.end(end(7)) == []
    assert run.end(end(0)) == [Close("succeeded")]


@pytest.mark.parametrize(
    ("ended", "reply"),
    [("succeeded", 1), ("skipped", 1), ("failed", 2), ("rejected", 2)],
)
def test_the_outcome_chooses_the_reply(ended: str, reply: int) -> None:
    run = play(phased("main", "on_success", "on_failure", "on_cancel"))
    assert run.end(end(0, ended)) == [visit(reply)]


def test_a_failing_init_cancels_without_work() -> None:
    run = play(phased("init", "main", "on_success", "on_cancel", "exit"))
    assert run.end(end(0, "failed")) == [visit(3)]
    assert run.end(end(3)) == [visit(4)]
    assert run.end(end(4)) == [Close("cancelled", "init_failed")]
    assert play(phased("init", "main")).end(end(0, "skipped")) == [visit(1)]


@pytest.mark.parametrize(
    ("main", "reply", "last", "close"),
    [
        ("succeeded", "failed", "succeeded", Close("failed", "success_phase_failed")),
        ("succeeded", "succeeded", "failed", Close("failed", "exit_phase_failed")),
        ("succeeded", "skipped", "skipped", Close("succeeded")),
        ("failed", "failed", "succeeded", Close("failed")),
        ("rejected", "failed", "failed", Close("rejected")),
    ],
)
def test_replies_may_fail_a_run(main: str, reply: str, last: str, close: Close) -> None:
    run = play(phased("main", "on_success", "on_failure", "exit"))
    (chosen,) = run.end(end(0, main))
    assert isinstance(chosen, Visit)
    assert run.end(end(chosen.node, reply)) == [visit(3)]
    assert run.end(end(3, last)) == [close]


def test_edges_inside_a_phase_hold_and_edges_between_phases_order_nothing() -> None:
    nodes = (Node("a", "noop"), Node("b", "noop", phase="exit"), Node("c", "noop", phase="exit"))
    run = play(Graph("g", nodes=nodes, edges=(Edge(2, 0), Edge(2, 1), Edge(0, 2))))
    assert run.end(end(0, "failed")) == [visit(2)]
    assert run.end(end(2, "failed")) == [Abort(1, 1), Close("failed")]


def test_the_wait_phase_ends_nothing_and_may_come_again() -> None:
    run = play(phased("main", "on_wait"))
    router, plan, memo = run.router, run.plan, run.memo
    for _ in range(2):
        router.fold(plan, memo, None, [visit(1)])
        assert router.open_steps(plan, memo) == 2
        assert router.advance(plan, memo, end(1, "failed"), {}) == []
        router.fold(plan, memo, end(1, "failed"), [])
        assert router.open_steps(plan, memo) == 1
    assert run.end(end(0)) == [Close("succeeded")]


def test_a_stop_lets_open_steps_end_and_starts_no_more() -> None:
    run = play(graph(4, (0, 2), (1, 3)))
    assert run.stop("failed", "timed_out") == []
    assert run.end(end(0)) == []
    assert run.stop("cancelled") == []
    assert run.end(end(1, "cancelled")) == [Close("failed", "timed_out")]


def test_a_stop_after_which_all_succeeds_is_a_success() -> None:
    run = play(graph(2))
    run.end(end(0))
    run.stop()
    assert run.end(end(1)) == [Close("succeeded")]


def test_a_stop_runs_the_replies_and_a_second_one_ends_them() -> None:
    run = play(phased("init", "main", "on_cancel", "exit"))
    run.stop("cancelled", "asked")
    assert run.end(end(0)) == [visit(2)]
    assert run.stop("cancelled") == []
    assert run.end(end(2, "cancelled")) == [Close("cancelled", "asked")]


@pytest.mark.parametrize(
    ("stop", "last", "close"),
    [
        ("cancelled", "cancelled", Close("succeeded")),
        ("cancelled", "failed", Close("failed", "success_phase_failed")),
        ("failed", "cancelled", Close("failed", "timed_out")),
        ("failed", "succeeded", Close("succeeded")),
    ],
)
def test_a_stop_during_a_reply(stop: str, last: str, close: Close) -> None:
    run = play(phased("main", "on_success", "exit"))
    run.end(end(0))
    run.stop(stop, "timed_out")
    assert run.end(end(1, last)) == [close]


def test_a_retry_runs_what_failed_and_all_behind_it() -> None:
    """Nine in a chain: 2 was tolerated, 4 skipped, 5 failed (Dagu 1.30 resets a tolerated step too)."""
    run = play(chain(9))
    run.end(end(0))
    run.end(end(1, "failed", tolerated=True))
    run.end(end(2))
    run.end(end(3, "skipped", passed=True))
    run.end(end(4, "failed"))
    assert run.close == Close("failed")
    assert run.reset() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert run.begin() == [visit(1)]
    assert run.finish(succeed) == Close("succeeded")


def test_a_retry_keeps_what_succeeded_and_waits_for_what_runs_again() -> None:
    run = play(Graph("g", nodes=(*graph(5).nodes, Node("x", "noop", phase="exit")), edges=(Edge(0, 2), Edge(1, 2), Edge(3, 4))))
    for ended in (end(0), end(1, "failed"), end(3), end(4, partial=True), end(5)):
        run.end(ended)
    assert run.reset() == [1, 2, 5]
    assert run.begin() == [visit(1)]
    assert run.end(end(1)) == [visit(2)]
    assert run.end(end(2)) == [visit(5)]
    assert run.end(end(5)) == [Close("partial")]


def test_a_retry_of_a_stopped_run_starts_what_never_started() -> None:
    run = play(chain(3))
    run.stop()
    assert run.end(end(0)) == [Close("cancelled")]
    assert run.reset() == []
    assert run.begin() == [visit(1)]


def test_a_retry_of_a_success_runs_only_the_replies() -> None:
    run = play(phased("main", "on_success"))
    run.finish(succeed)
    assert run.reset() == [1]
    assert run.begin() == [visit(1)]


def test_a_retry_of_one_step_touches_nothing_behind_it() -> None:
    run = play(chain(4))
    run.end(end(0))
    run.end(end(1, "failed"))
    assert run.reset(1) == [1]
    assert run.begin() == [visit(1)]
    assert run.end(end(1)) == [Close("succeeded")]
    assert run.reset() == [2, 3]
    assert run.begin() == [visit(2)]


def test_a_retry_of_one_step_does_not_start_what_never_started() -> None:
    run = play(chain(3))
    run.stop()
    run.end(end(0, "cancelled"))
    assert run.reset(0) == [0]
    run.begin()
    assert run.end(end(0)) == [Close("succeeded")]
    run.reset()
    assert run.begin() == [visit(1)]


def test_a_step_behind_a_kept_failure_is_not_run_by_its_own_retry() -> None:
    run = play(chain(2))
    run.end(end(0, "failed"))
    run.reset(1)
    assert run.begin() == [Abort(1, 1), Close("failed")]


def test_a_mark_counts_in_the_next_round() -> None:
    run = play(chain(3))
    run.end(end(0))
    run.end(end(1, "failed"))
    run.mark(1, "succeeded")
    assert run.reset() == [2]
    assert run.begin() == [visit(2)]
    run.finish(succeed)

    run.mark(1, None)
    run.reset()
    assert run.begin() == [visit(1)]
    run.finish(succeed)

    run.mark(0, "skipped")
    run.mark(1, None)
    run.reset()
    assert run.begin() == [Skip(1, 1), Skip(2, 2), Close("succeeded")]


def test_a_mark_answers_a_join_any_once() -> None:
    """At the start of a round, one side of the join is taken and the other is skipped in the same answer."""
    run = play(graph(4, (0, 3), (1, 2), (2, 3), any_at=3))
    run.finish(succeed)
    run.mark(1, "skipped")
    run.mark(2, None)
    run.reset()
    assert run.begin() == [Skip(2, 2), visit(3)]
    assert run.end(end(3)) == [Close("succeeded")]


def test_a_cycle_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="n1 → n2 → n3 → n1") as refused:
        DependsRouter().plan(graph(6, (0, 1), (1, 2), (2, 3), (3, 1), (3, 4), (4, 5)))
    assert len(refused.value.problems) == 1
    with pytest.raises(Invalid, match="n0 → n0"):
        DependsRouter().plan(graph(1, (0, 0)))


def test_every_edge_to_nowhere_is_told() -> None:
    with pytest.raises(Invalid) as refused:
        DependsRouter().plan(graph(2, (0, 2), (0, 1), (-1, 7)))
    assert [problem.path for problem in refused.value.problems] == ["edges[0]", "edges[2]", "edges[2]"]


def expected_fates(of: Graph, outcomes: list[Ended]) -> dict[int, str]:
    """What becomes of each node of a main-only graph, read plainly from the rules, edges taken one at a time."""
    blocked = "skipped" if of.dialect == "release" else "aborted"
    fates: dict[int, str] = {}

    def edge(one: Edge) -> str:
        fate, ended = fates[one.source], outcomes[one.source]
        executed = fate not in ("aborted", "skipped")
        if not executed and not (fate == "skipped" and ended.outcome == "skipped" and one.source in visited and ended.passed):
            return blocked if fate == "aborted" else "skipped"
        took = fate in ("failed", "timed_out", "broken", "lost") and (ended.tolerated or ended.marked)
        went_well = fate in ("succeeded", "skipped") or took
        if one.on == "always" or (one.on == "success" and went_well):
            return "taken"
        if one.on == "success":
            return blocked
        return "skipped" if went_well or fate == "cancelled" else "taken"

    visited: set[int] = set()
    while len(fates) < len(of.nodes):
        for number, node in enumerate(of.nodes):
            incoming = [one for one in of.edges if one.target == number]
            if number in fates or any(one.source not in fates for one in incoming):
                continue
            results = {edge(one) for one in incoming}
            if (node.join == "any" and "taken" in results) or results <= {"taken"}:
                fates[number] = outcomes[number].outcome
                visited.add(number)
            else:
                fates[number] = "aborted" if "aborted" in results else "skipped"
    return fates


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_order_of_ends_gives_the_fates_the_rules_say(data: st.DataObject) -> None:
    of = data.draw(dags(phases=False))
    outcomes = [data.draw(ends(node, node)) for node in range(len(of.nodes))]
    fates: dict[int, str] = {}
    run = play(of, begin=False)
    run.begin()
    while run.open:
        no = data.draw(st.sampled_from(sorted(run.open)))
        fates[no] = outcomes[no].outcome
        run.end(outcomes[no])
    fates |= {move.no: type(move).__name__ for move in run.order if isinstance(move, Skip | Abort)}
    fates = {no: {"Skip": "skipped", "Abort": "aborted"}.get(fate, fate) for no, fate in fates.items()}
    assert fates == expected_fates(of, outcomes)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_node_is_answered_after_what_it_waits_for(data: st.DataObject) -> None:
    of = data.draw(dags(phases=False))
    run = play(of)
    while run.open:
        no = data.draw(st.sampled_from(sorted(run.open)))
        run.end(data.draw(ends(no, no)))
    place = {move.no: number for number, move in enumerate(run.order) if not isinstance(move, Close)}
    assert sorted(place) == list(range(len(of.nodes)))
    for edge in of.edges:
        if of.nodes[edge.target].join == "all":
            assert place[edge.source] < place[edge.target]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_retry_visits_nothing_it_kept(data: st.DataObject) -> None:
    of = data.draw(dags(phases=False))
    outcomes = {no: data.draw(st.sampled_from(OUTCOMES)) for no in range(len(of.nodes))}
    run = play(of)
    run.finish(lambda node, no: Ended(node, no, outcomes[no]), lambda open_: data.draw(st.sampled_from(open_)))
    kept = set(run.ended) - set(run.reset())
    assert all(edge.source in kept for edge in of.edges if edge.target in kept), "descendants of a reset step are reset"
    run.order.clear()
    run.begin()
    run.finish(succeed)
    assert not kept & {move.no for move in run.order if not isinstance(move, Close)}
    assert sorted(run.ended) == list(range(len(of.nodes)))


class Touched(list[Any]):
    """A list that counts what is asked of it; walking over all of it counts each element."""

    count = 0

    def __getitem__(self, key: Any) -> Any:
        Touched.count += 1
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        Touched.count += 1
        super().__setitem__(key, value)

    def __iter__(self) -> Any:
        Touched.count += len(self)
        return super().__iter__()


def touches(of: Graph, steps: int) -> list[int]:
    """How many elements each of the first `steps` ends touches, in plan and memo."""
    run = play(of)
    for name in ("letters", "waits", "seen"):
        setattr(run.memo, name, Touched(getattr(run.memo, name)))
    watched = {name: Touched(getattr(run.plan, name)) for name in ("phase", "join_any", "outs", "waits", "members", "roots")}
    run.plan = msgspec.structs.replace(run.plan, **watched)
    counts = []
    for _ in range(steps):
        Touched.count = 0
        no = min(run.open)
        run.end(end(no))
        counts.append(Touched.count)
    return counts


def test_a_step_costs_its_out_edges_not_the_graph() -> None:
    small, large = touches(chain(10), 9), touches(chain(10_000), 9)
    assert small[:8] == large[:8]
    assert max(large) < 30
    fan = touches(graph(2_002, *((0, to) for to in range(1, 2_001)), *((to, 2_001) for to in range(1, 2_001))), 10)
    assert fan[0] < 2_000 * 12
    assert max(fan[1:]) < 30


def test_ten_thousand_steps_in_random_order() -> None:
    """Layers of a hundred, each node behind three of the layer before."""
    order = random.Random(1)
    edges = [(node // 100 * 100 - 100 + order.randrange(100), node) for node in range(100, 10_000) for _ in range(3)]
    run = play(graph(10_000, *edges))
    assert run.finish(succeed, lambda open_: open_[-1]) == Close("succeeded")
    assert len(run.ended) == 10_000
