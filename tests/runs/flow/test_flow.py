"""Graphs of rules as they run: state, rules, branches, questions, budgets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from astrarium.errors import Invalid, Refused
from astrarium.runs.message import AnswerAsk
from astrarium.spec.graph import Node, Retry
from astrarium.spec.ir import flow as f
from tests.specs.dags.desk import Desk, open_desk

from .desk import INT, SEEN, graph, node, respond, rule, state_of, way


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


async def test_nodes_run_in_order_and_their_patches_add_up(desk: Desk) -> None:
    run = await desk.start_graph(graph(node("a", "Bump"), node("b", "Bump", by=2), node("c", "note", text="x")), state={"n": 4})
    row = await desk.ended(run)
    state = await state_of(desk, run)
    assert (row.outcome, row.reason, state.document) == ("succeeded", "", {"n": 7, "seen": ["x"]})
    assert await way(desk, run) == ["0.a", "1.b", "2.c"]


async def test_a_loop_goes_on_until_its_rule_says_so(desk: Desk) -> None:
    rules = (
        f.FlowRule("more", (f.Goto("a"),), "a", (f.Test("n", "lt", 3),)),
        f.FlowRule("done", (f.Halt("enough"),), "a", cel="state.n >= 3"),
    )
    run = await desk.start_graph(graph(node("a", "Bump"), node("b", "Bump"), rules=rules))
    row = await desk.ended(run)
    assert (row.outcome, row.reason) == ("succeeded", "enough")
    assert await way(desk, run) == ["0.a", "1.a", "2.a"]


async def test_wrong_starts_are_refused_and_leave_nothing(desk: Desk) -> None:
    fields = (f.Field("name", "str", required=True), INT)
    with pytest.raises(Invalid) as refused:
        await desk.start_graph(graph(node("a"), fields=fields), state={"n": "x", "zz": 1})
    assert [problem.path for problem in refused.value.problems] == ["state.n", "state.zz", "state.name"]
    assert await desk.worker.store.read("SELECT id FROM runs") == []


async def test_a_patch_the_schema_does_not_know_breaks_the_run(desk: Desk) -> None:
    run = await desk.start_graph(graph(node("a", "write", n="five"), node("b")))
    row = await desk.ended(run)
    assert (row.outcome, row.reason) == ("broken", "StateValidationError")
    assert (await state_of(desk, run)).document == {"n": 0, "seen": []}
    assert "field `n` is int, not str" in (await desk.steps(run))["a"].error


async def test_what_a_node_raises_is_the_reason(desk: Desk) -> None:
    run = await desk.start_graph(graph(node("a", "fail", kind="KeyError"), node("b")))
    row = await desk.ended(run)
    assert (row.outcome, row.reason) == ("broken", "KeyError")


async def test_a_node_is_tried_again_for_the_errors_it_names(desk: Desk) -> None:
    def tried(*errors: str) -> Node:
        made = node("a", "fail", until=3)
        return Node(made.name, made.kind, params=made.params, retry=Retry(5, errors=errors))

    good = await desk.start_graph(graph(tried("ValueError")))
    assert (await desk.ended(good)).outcome == "succeeded" and (await desk.steps(good))["a"].tries == 3
    spent = await desk.start_graph(graph(msgspec.structs.replace(tried(), retry=Retry(1))))
    row = await desk.ended(spent)
    assert (row.outcome, row.reason, (await desk.steps(spent))["a"].error) == ("failed", "retry_exhausted", "ValueError: no good")
    bad = await desk.start_graph(graph(tried("KeyError")))
    assert (await desk.ended(bad)).outcome == "broken" and (await desk.steps(bad))["a"].tries == 1


async def test_a_caught_failure_goes_where_its_rule_says(desk: Desk) -> None:
    rules = (f.FlowRule("fallback", (f.Goto("plan-b"),), "a", (f.Test("$outcome", "eq", "broken"),)),)
    run = await desk.start_graph(graph(node("a", "fail"), node("plan-b", "Bump"), order=("a",), rules=rules))
    assert (await desk.ended(run)).outcome == "succeeded"
    assert (await state_of(desk, run)).document["n"] == 1


async def test_a_retry_waits_and_is_counted_by_rule_and_target(desk: Desk) -> None:
    rules = (f.FlowRule("again", (f.Revisit("a", 0.01, 3),), "a"),)
    run = await desk.start_graph(graph(node("a", "Bump"), rules=rules))
    row = await desk.ended(run)
    assert (row.outcome, row.reason) == ("failed", "retry_exhausted")
    assert (await state_of(desk, run)).document["n"] == 4


async def test_steps_have_a_limit(desk: Desk) -> None:
    run = await desk.start_graph(graph(node("a", "Bump"), rules=(rule("r", "a", f.Goto("a")),), max_steps=7))
    row = await desk.ended(run)
    assert (row.outcome, row.reason, (await state_of(desk, run)).document["n"]) == ("failed", "max_steps", 7)


async def test_questions_count_as_steps(desk: Desk) -> None:
    """Two rules that ask in turn would ask for ever."""
    rules = (rule("one", "a", f.Interrupt("sure?")), rule("two", "a", f.Interrupt("really?")))
    run = await desk.start_graph(graph(node("a", "Bump"), rules=rules, max_steps=3))
    for _ in range(2):
        await respond(desk, run, {})
    row = await desk.ended(run)
    assert (row.outcome, row.reason) == ("failed", "max_steps")


async def test_facts_live_on_and_can_be_taken_back(desk: Desk) -> None:
    rules = (
        f.FlowRule("tell", (f.Assert("alarm", {"value": "red"}),), "a"),
        f.FlowRule("skip", (f.Retract("alarm", {"value": "red"}), f.Goto("c")), "b", (f.Test("alarm", "text", "red"),)),
        f.FlowRule("never", (f.Goto("a"),), "c", (f.Test("alarm", "text", "red"),)),
    )
    run = await desk.start_graph(graph(node("a"), node("b"), node("x"), node("c"), rules=rules))
    await desk.ended(run)
    assert await way(desk, run) == ["0.a", "1.b", "2.c"]
    assert (await state_of(desk, run)).memo.facts == []


# -- branches ------------------------------------------------------------------------------------------------------------


async def test_branches_share_a_place_and_the_join_goes_on_behind_them(desk: Desk) -> None:
    block = f.Parallel(("left", "right"), "fin")
    nodes = (node("start", "Bump"), node("left", "note", text="l"), node("right", "Bump", by=5), node("fin", "Bump"))
    run = await desk.start_graph(graph(*nodes, blocks=(block,)))
    assert (await desk.ended(run)).outcome == "succeeded"
    assert await way(desk, run) == ["0.start", "1.left/branch-0", "1.right/branch-1", "2.fin"]
    assert (await state_of(desk, run)).document == {"n": 7, "seen": ["l"]}


async def test_branches_that_contradict_each_other_break_the_run(desk: Desk) -> None:
    block = f.Parallel(("left", "right"))
    run = await desk.start_graph(graph(node("left", "write", n=1), node("right", "write", n=2), blocks=(block,)))
    row = await desk.ended(run)
    assert (row.outcome, row.reason) == ("broken", "merge_conflict")


async def test_reducers_settle_what_branches_changed(desk: Desk) -> None:
    fields = (f.Field("n", "int", default=10, reducer="sum"), f.Field("seen", "list", default=["s"], reducer="append"))
    nodes = (node("a", "write", n=11, seen=["s", "a"]), node("b", "write", n=13, seen=["s", "b"]))
    run = await desk.start_graph(graph(*nodes, blocks=(f.Parallel(("a", "b")),), fields=fields))
    assert (await desk.ended(run)).outcome == "succeeded"
    assert (await state_of(desk, run)).document == {"n": 14, "seen": ["s", "a", "b"]}


@pytest.mark.parametrize(
    ("strategy", "outcomes"),
    [("race", ["cancelled", "succeeded", "cancelled"]), ("any", ["broken", "succeeded", "cancelled"])],
)
async def test_the_winner_goes_on_and_losers_are_cancelled(desk: Desk, strategy: f.Strategy, outcomes: list[str]) -> None:
    first = node("a", "fail") if strategy == "any" else node("a", "wait", gate="never")
    rules = (rule("r", "go", f.Parallel(("a", "b", "c"), "fin", strategy)),)
    nodes = (node("go"), first, node("b", "Bump"), node("c", "wait", gate="never"), node("fin", "Bump"))
    run = await desk.start_graph(graph(*nodes, rules=rules))
    assert (await desk.ended(run)).outcome == "succeeded"
    steps = await desk.steps(run)
    assert [steps[name].outcome for name in "abc"] == outcomes
    assert (await state_of(desk, run)).document["n"] == 2


async def test_a_quorum_is_met_missed_or_too_late(desk: Desk) -> None:
    def fan(*bad: str, deadline_s: float = 60.0) -> f.Parallel:
        return f.Parallel(("a", "b", "c"), "fin", "quorum", 2, deadline_s)

    good, bad, hang = (
        (lambda name: node(name)),
        (lambda name: node(name, "fail")),
        (lambda name: node(name, "wait", gate="never")),
    )
    cases = {
        "succeeded": (good("a"), good("b"), hang("c")),
        "quorum": (bad("a"), good("b"), bad("c")),
    }
    for wanted, branches in cases.items():
        run = await desk.start_graph(graph(*branches, node("fin"), blocks=(fan(),)))
        row = await desk.ended(run)
        assert wanted in (row.outcome, row.reason)
    late = await desk.start_graph(graph(hang("a"), good("b"), hang("c"), node("fin"), blocks=(fan(deadline_s=0.05),)))
    row = await desk.ended(late)
    assert (row.outcome, row.reason) == ("failed", "quorum")
    await desk.engine.settle()


# -- questions -----------------------------------------------------------------------------------------------------------

YES_NO = {"type": "object", "properties": {"decision": {"enum": ["yes", "no"]}}, "required": ["decision"]}


def gate(**more: object) -> Node:
    return Node("ask", "interrupt", params={"prompt": "go?", "schema": YES_NO, **more})


async def test_an_answer_is_checked_merged_and_seen_by_rules(desk: Desk) -> None:
    rules = (rule("no", "ask", f.Goto("stop"), decision="no"), rule("yes", "ask", f.Goto("ship"), decision="yes"))
    made = graph(node("a", "Bump"), gate(), node("ship"), node("stop"), rules=rules, order=("a", "ask"))
    run = await desk.start_graph(made)
    await desk.status(run, "waiting")
    with pytest.raises(Invalid, match="does not fit"):
        await respond(desk, run, {"decision": "perhaps"})
    await respond(desk, run, {"decision": "no"})
    assert (await desk.ended(run)).outcome == "succeeded"
    assert await way(desk, run) == ["0.a", "1.ask", "2.stop"]
    with pytest.raises(Refused):
        await desk.order(run, AnswerAsk(1, "anna", answer={"decision": "no"}))


async def test_an_answer_goes_into_the_state(desk: Desk) -> None:
    fields = (INT, f.Field("reply", "dict"), SEEN)
    run = await desk.start_graph(graph(gate(schema={}), gate_into("more"), node("b", "Bump"), fields=fields))
    await respond(desk, run, {"n": 5, "unknown": 1})
    await respond(desk, run, {"n": 9, "x": 2})
    await desk.ended(run)
    assert (await state_of(desk, run)).document == {"n": 6, "reply": {"n": 9, "x": 2}, "seen": []}


def gate_into(name: str) -> Node:
    return Node(name, "interrupt", params={"prompt": "more?", "output_field": "reply"})


async def test_a_rule_may_ask_and_is_asked_with_the_answer(desk: Desk) -> None:
    rules = (
        rule("hold", "a", f.Interrupt("sure?"), n=1),
        rule("back", "a", f.Goto("c"), sure="no"),
    )
    run = await desk.start_graph(graph(node("a", "Bump"), node("b"), node("c"), rules=rules))
    await respond(desk, run, {"sure": "no"})
    assert (await desk.ended(run)).outcome == "succeeded"
    assert await way(desk, run) == ["0.a", "1.a", "2.c"]


async def test_a_run_that_waits_for_a_person_holds_no_memory_and_no_lease(desk: Desk) -> None:
    run = await desk.start_graph(graph(node("a", "Bump"), gate(), node("b", "Bump")))
    await desk.status(run, "waiting")
    await desk.engine.settle()
    assert f"run:{run}" not in desk.engine.memory.hot
    assert await desk.worker.store.read("SELECT stream FROM leases") == []
    await respond(desk, run, {"decision": "yes"})
    assert (await desk.ended(run)).outcome == "succeeded"


async def test_nobody_answers(desk: Desk) -> None:
    run = await desk.start_graph(graph(gate(timeout_s=0.02), node("b")))
    row = await desk.ended(run)
    assert (row.outcome, row.reason) == ("failed", "interrupt_timeout")
    run = await desk.start_graph(graph(gate(timeout_s=0.02, on_timeout="c"), node("b"), node("c")))
    assert (await desk.ended(run)).outcome == "succeeded"
    assert await way(desk, run) == ["0.ask", "1.c"]


async def test_a_waiting_run_outlives_its_server_and_its_date_counts_from_the_ask(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        waits = await desk.start_graph(graph(node("a", "Bump"), gate(), node("b", "Bump")))
        late = await desk.start_graph(graph(gate(timeout_s=0.05)))
        asks = await desk.start_graph(graph(node("a", "Bump"), node("b"), rules=(rule("r", "a", f.Interrupt("sure?")),)))
        for run in (waits, asks):
            await desk.status(run, "waiting")
        await desk.step_is(late, "ask", "asking", "timed_out")
    async with open_desk(tmp_path) as desk:
        row = await desk.ended(late)
        assert (row.outcome, row.reason) == ("failed", "interrupt_timeout")
        await respond(desk, waits, {"decision": "yes"})
        await respond(desk, asks, {})
        assert [(await desk.ended(run)).outcome for run in (waits, asks)] == ["succeeded", "succeeded"]
        assert await way(desk, waits) == ["0.a", "1.ask", "2.b"]
        assert await way(desk, asks) == ["0.a", "1.a", "2.b"]


async def test_runs_of_one_graph_wait_side_by_side(desk: Desk) -> None:
    """Eight runs stand in the same node at once, none behind another."""
    made = graph(node("a", "meet", size=8))
    runs = [await desk.start_graph(made) for _ in range(8)]
    assert {(await desk.ended(run)).outcome for run in runs} == {"succeeded"}


async def test_more_steps_than_may_run_at_once_wait_for_room(desk: Desk) -> None:
    fan = f.Parallel(("a", "b", "c"), "fin")
    run = await desk.start_graph(
        graph(node("a"), node("b", "Bump"), node("c", "sleep"), node("fin"), blocks=(fan,), max_active_steps=1)
    )
    assert (await desk.ended(run)).outcome == "succeeded"
    assert await desk.left() == {"jobs": 0, "leases": 0}
