"""The rules router: loops, numbers, and going on from the last decision."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import strategies as st

from astrarium.errors import Invalid, Refused
from astrarium.runs.routing.port import Close, Ended, Visit
from astrarium.runs.routing.rules import OUTCOME_FIELD, VISITS_FIELD, RulesRouter
from astrarium.spec.graph import Graph, Node, Rule
from tests.contracts.router import Play, RouterContract, succeed

NAMES = ("draft", "check", "ask", "send")


def graph(*rules: Rule, start: str = "", max_steps: int = 0) -> Graph:
    nodes = tuple(Node(name, "noop") for name in NAMES)
    return Graph("letter", router="rules", nodes=nodes, rules=rules, start=start, max_steps=max_steps)


WHEN = st.sampled_from(({}, {"ok": True}, {VISITS_FIELD: 2}, {OUTCOME_FIELD: "failed"}, {OUTCOME_FIELD: "succeeded"}))
OUTCOME = st.sampled_from(("succeeded", "failed", "rejected"))
RULES = st.builds(Rule, st.sampled_from(NAMES), WHEN, st.sampled_from(("", *NAMES)), outcome=OUTCOME)
WRITE = graph(
    Rule("draft", goto="check"),
    Rule("check", {"good": False}, goto="draft"),
    Rule("check", {OUTCOME_FIELD: "failed"}, goto="ask"),
    Rule("check", {"good": True}, goto="send"),
    Rule("ask", {OUTCOME_FIELD: "rejected"}, outcome="cancelled"),
)


class TestContract(RouterContract):
    router: ClassVar[RulesRouter] = RulesRouter()
    graphs: ClassVar[st.SearchStrategy[Graph]] = st.builds(
        lambda rules, start, most: graph(*rules, start=start, max_steps=most),
        st.lists(RULES, max_size=12),
        st.sampled_from(("", *NAMES)),
        st.integers(1, 15),
    )


def play(of: Graph = WRITE) -> Play:
    return Play(RulesRouter(), of)


def test_a_loop_gives_each_visit_its_own_number() -> None:
    run = play()
    assert run.begin() == [Visit(0, 0)]
    assert run.end(succeed(0, 0)) == [Visit(1, 1)]
    run.document = {"good": False}
    assert run.end(succeed(1, 1)) == [Visit(0, 2)]
    assert run.end(succeed(0, 2)) == [Visit(1, 3)]
    run.document = {"good": True}
    assert run.end(succeed(1, 3)) == [Visit(3, 4)]
    assert run.end(succeed(3, 4)) == [Close("succeeded")]


def test_the_run_starts_where_the_graph_says() -> None:
    assert play(graph(start="send")).begin() == [Visit(3, 0)]


def test_a_field_the_document_lacks_fits_nothing() -> None:
    run = play(graph(Rule("draft", {"good": None}, goto="send")))
    run.begin()
    assert run.end(succeed(0, 0)) == [Close("succeeded")]


def test_visits_can_bound_a_loop() -> None:
    run = play(graph(Rule("draft", {VISITS_FIELD: 3}, outcome="partial"), Rule("draft", goto="draft")))
    run.begin()
    assert run.finish(succeed) == Close("partial")
    assert len(run.ended) == 3


def test_a_failed_step_needs_a_rule_that_names_its_outcome() -> None:
    run = play()
    run.begin()
    assert run.end(Ended(0, 0, "failed")) == [Close("failed")]

    run = play()
    run.begin()
    run.end(succeed(0, 0))
    assert run.end(Ended(1, 1, "failed")) == [Visit(2, 2)]
    assert run.end(Ended(2, 2, "rejected")) == [Close("cancelled")]


@pytest.mark.parametrize(
    ("ended", "close"),
    [
        (Ended(0, 0, "rejected"), Close("rejected")),
        (Ended(0, 0, "broken"), Close("failed")),
        (Ended(0, 0, "failed", tolerated=True), Close("succeeded")),
        (Ended(0, 0, "skipped"), Close("succeeded")),
    ],
)
def test_without_a_rule_the_run_ends_as_its_last_step(ended: Ended, close: Close) -> None:
    run = play(graph())
    run.begin()
    assert run.end(ended) == [close]


def test_max_steps_counts_one_round() -> None:
    run = play(graph(Rule("draft", goto="draft"), max_steps=2))
    run.begin()
    assert run.finish(succeed) == Close("failed", "max_steps")
    assert len(run.ended) == 2
    assert run.reset() == []
    assert run.begin() == [Visit(0, 2)]
    assert run.finish(succeed) == Close("failed", "max_steps")
    assert len(run.ended) == 4


def test_a_reset_visits_the_failed_step_again() -> None:
    run = play()
    run.begin()
    run.end(succeed(0, 0))
    run.document = {"good": True}
    run.end(succeed(1, 1))
    assert run.end(Ended(3, 2, "failed")) == [Close("failed")]
    assert run.reset() == [2], "its number is given again: it is the same place on the way"
    assert run.begin() == [Visit(3, 2)]
    assert run.end(succeed(3, 2)) == [Close("succeeded")]


def test_a_reset_after_a_good_step_decides_again_under_the_document_of_now() -> None:
    run = play()
    run.begin()
    run.end(succeed(0, 0))
    assert run.end(succeed(1, 1)) == [Close("succeeded")]
    run.reset()
    run.document = {"good": True}
    assert run.begin() == [Visit(3, 2)]


def test_only_the_last_step_can_be_reset_alone() -> None:
    run = play()
    run.begin()
    run.end(succeed(0, 0))
    run.end(succeed(1, 1))
    with pytest.raises(Refused, match="step 0 is not the last"):
        run.reset(0)
    assert run.reset(1) == [1]
    assert run.begin() == [Visit(1, 1)]


def test_a_stop_waits_for_the_open_step() -> None:
    run = play()
    run.begin()
    assert run.stop("cancelled", "asked") == []
    assert run.end(succeed(0, 0)) == [Close("cancelled", "asked")]
    assert play().stop("cancelled", "asked") == [Close("cancelled", "asked")]


def test_a_marked_last_step_counts_in_the_next_round() -> None:
    run = play()
    run.begin()
    run.end(Ended(0, 0, "failed"))
    run.mark(0, "succeeded")
    run.mark(3, "failed")
    run.reset()
    assert run.begin() == [Visit(1, 1)]


def test_a_late_report_of_an_older_visit_moves_nothing() -> None:
    run = play()
    run.begin()
    run.end(succeed(0, 0))
    assert run.router.advance(run.plan, run.memo, succeed(0, 0), {}) == []


def test_every_wrong_name_is_told_at_once() -> None:
    wrong = Graph(
        "wrong",
        router="rules",
        nodes=(Node("a", "noop"), Node("a", "noop"), Node("b", "noop", phase="exit")),
        rules=(Rule("x"), Rule("a", goto="y"), Rule("a", outcome="fine")),
        start="z",
    )
    with pytest.raises(Invalid) as refused:
        RulesRouter().plan(wrong)
    assert [problem.path for problem in refused.value.problems] == [
        "nodes", "start", "nodes[2].phase", "rules[0].node", "rules[1].goto", "rules[2].outcome",
    ]  # fmt: skip
