"""A run's past: its state at any step, going on from one, forks of forks, how runs differ, replay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrarium.errors import Invalid, Refused
from astrarium.runs.fork import Changes, fork_run
from astrarium.runs.message import PauseRun, StopRun
from astrarium.runs.past.diff import diff_runs, json_patch, life_of
from astrarium.runs.past.mutate import Mutation
from astrarium.runs.past.read import checkpoints
from astrarium.runs.past.replay import replay_run
from astrarium.runs.past.resume import resume_run
from astrarium.runs.past.seek import state_at
from astrarium.runs.state import Definition
from astrarium.spec.graph import Graph, Node
from astrarium.spec.ir import flow as f
from tests.runs.flow import nodes as gates
from tests.specs.dags.desk import ANNA, SCOPE, Desk, open_desk

from .desk import graph, node, respond, rule, state_of, way
from .test_flow import gate


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    gates.GATES.clear()
    async with open_desk(tmp_path) as desk:
        yield desk


def looping() -> Graph:
    """`a` counts to three, a question, then `b`."""
    rules = (
        f.FlowRule("more", (f.Goto("a"), f.Assert("turn", {"value": 1})), "a", (f.Test("n", "lt", 3),)),
        rule("no", "ask", f.Goto("c"), decision="no"),
    )
    return graph(
        node("a", "Bump"), gate(), node("b", "Bump", by=10), node("c", "Bump", by=100), rules=rules, order=("a", "ask", "b")
    )


async def fork(desk: Desk, run: str, step: int | None, **mutation: Any) -> str:
    return await fork_run(desk.engine, run, SCOPE, step=step, changes=Changes(mutation=Mutation(**mutation)), actor=ANNA)


async def told(desk: Desk, run: str) -> list[bytes]:
    return [msgspec.json.encode(body) for body in await desk.events(run)]


async def test_the_state_at_any_step(desk: Desk) -> None:
    run = await desk.start_graph(looping())
    await respond(desk, run, {"decision": "yes"})
    await desk.ended(run)
    found = await checkpoints(desk.engine, run, SCOPE)
    assert [(one.place, one.node, one.state["n"]) for one in found] == [
        (0, "a", 1),
        (1, "a", 2),
        (2, "a", 3),
        (3, "ask", 3),
        (4, "b", 13),
    ]
    assert [len(one.facts) for one in found] == [1, 1, 1, 1, 1], "a fact is there once"
    assert (await state_at(desk.engine, run, SCOPE, 1)).state == {"n": 2, "seen": []}
    assert [one.chose.kind for one in found if one.chose] == ["goto", "goto", "continue", "continue", "continue"]
    with pytest.raises(Refused, match="no ended step 9"):
        await state_at(desk.engine, run, SCOPE, 9)


async def test_branches_have_states_of_their_own(desk: Desk) -> None:
    nodes = (node("l", "Bump"), node("r", "note", text="r"), node("fin", "Bump"))
    run = await desk.start_graph(graph(*nodes, blocks=(f.Parallel(("l", "r"), "fin"),)))
    await desk.ended(run)
    found = {(one.place, one.branch): one.state for one in await checkpoints(desk.engine, run, SCOPE)}
    assert found == {
        (0, "branch-0"): {"n": 1, "seen": []},
        (0, "branch-1"): {"n": 0, "seen": ["r"]},
        (1, ""): {"n": 2, "seen": ["r"]},
    }
    assert (await state_at(desk.engine, run, SCOPE, 0)).state == {"n": 1, "seen": ["r"]}


async def test_a_failed_run_goes_on_where_it_failed(desk: Desk) -> None:
    made = graph(node("a", "Bump"), node("b", "fail"), node("c", "Bump"))
    run = await desk.start_graph(made)
    await desk.ended(run)
    await resume_run(desk.engine, run, SCOPE)
    row = await desk.ended(run)
    assert (row.outcome, row.round) == ("broken", 2)
    assert await way(desk, run) == ["0.a", "1.b"]
    rows = await desk.worker.store.read("SELECT round, place, node, outcome FROM steps WHERE run = ? ORDER BY round, no", (run,))
    assert [tuple(row) for row in rows] == [(1, 0, "a", "succeeded"), (1, 1, "b", "broken"), (2, 1, "b", "broken")]


async def test_a_run_goes_on_from_an_earlier_step_and_what_lay_behind_is_superseded(desk: Desk) -> None:
    run = await desk.start_graph(graph(node("a", "Bump"), node("b", "Bump"), node("c", "Bump"), node("d", "fail")))
    await desk.ended(run)
    await resume_run(desk.engine, run, SCOPE, place=0)
    row = await desk.ended(run)
    assert (row.round, (await state_of(desk, run)).document["n"]) == (2, 3)
    assert [one.place for one in await checkpoints(desk.engine, run, SCOPE)] == [0, 1, 2, 3]
    assert len(await checkpoints(desk.engine, run, SCOPE, superseded=True)) == 7
    with pytest.raises(Refused) as refused:
        await resume_run(desk.engine, run, SCOPE, place=8)
    assert refused.value.code == "missing-step"


async def test_what_cannot_be_resumed_says_so(desk: Desk) -> None:
    done = await desk.start_graph(graph(node("a")))
    await desk.ended(done)
    waits = await desk.start_graph(graph(gate()))
    await desk.status(waits, "waiting")
    for run, code in ((done, "done"), (waits, "waiting")):
        with pytest.raises(Refused) as refused:
            await resume_run(desk.engine, run, SCOPE)
        assert refused.value.code == code
    with pytest.raises(Refused, match="waits for an answer"):
        await desk.order(waits, PauseRun())


async def test_a_pause_is_met_at_the_next_boundary_and_a_resume_goes_on(desk: Desk) -> None:
    run = await desk.start_graph(graph(node("a", "wait", gate="p"), node("b", "Bump"), node("c", "Bump")))
    await desk.step_is(run, "a", "running")
    await desk.order(run, PauseRun())
    assert (await desk.row(run)).status == "pausing"
    gates.GATES["p"].set()
    await desk.status(run, "paused")
    assert (await way(desk, run))[-1] == "1.b" and (await state_of(desk, run)).document["n"] == 0
    await resume_run(desk.engine, run, SCOPE)
    assert (await desk.ended(run)).outcome == "succeeded"
    assert await way(desk, run) == ["0.a", "1.b", "2.c"]


async def test_a_paused_run_may_go_on_from_an_earlier_step(desk: Desk) -> None:
    run = await desk.start_graph(graph(node("a", "Bump"), node("b", "wait", gate="q"), node("c", "Bump")))
    await desk.step_is(run, "b", "running")
    await desk.order(run, PauseRun())
    gates.GATES["q"].set()
    await desk.status(run, "paused")
    await resume_run(desk.engine, run, SCOPE, place=0)
    row = await desk.ended(run)
    assert (row.outcome, row.round, (await state_of(desk, run)).document["n"]) == ("succeeded", 2, 2)


async def test_a_cooperative_stop_takes_the_result_and_a_grace_ends_it(desk: Desk) -> None:
    run = await desk.start_graph(graph(node("a", "wait", gate="s"), node("b")))
    await desk.step_is(run, "a", "running")
    await desk.order(run, StopRun(mode="cooperative"))
    gates.GATES["s"].set()
    assert (await desk.ended(run)).outcome == "cancelled"
    assert (await desk.outcomes(run)) == {"a": "succeeded"}
    hard = await desk.start_graph(graph(node("a", "wait", gate="never"), node("b")))
    await desk.step_is(hard, "a", "running")
    await desk.order(hard, StopRun(mode="cooperative", grace_s=0.02))
    assert (await desk.ended(hard)).outcome == "cancelled"
    waits = await desk.start_graph(graph(gate(), node("b")))
    await desk.status(waits, "waiting")
    await desk.order(waits, StopRun(mode="cooperative"))
    assert (await desk.ended(waits)).outcome == "cancelled"
    await resume_run(desk.engine, waits, SCOPE)
    await respond(desk, waits, {"decision": "yes"})
    assert (await desk.ended(waits)).outcome == "succeeded"
    assert await way(desk, waits) == ["0.ask", "1.b"]


# -- forks ---------------------------------------------------------------------------------------------------------------


async def test_a_fork_goes_another_way_and_leaves_its_parent_alone(desk: Desk) -> None:
    run = await desk.start_graph(looping())
    await respond(desk, run, {"decision": "yes"})
    await desk.ended(run)
    before = await told(desk, run)
    other = await fork(desk, run, 1, document={"n": 7}, answers={2: {"decision": "no"}})
    assert (await desk.ended(other)).outcome == "succeeded"
    assert await way(desk, other) == ["0.a", "1.a", "2.ask", "3.c"]
    assert (await state_of(desk, other)).document["n"] == 107
    assert [step.answers[0]["by"] for step in (await state_of(desk, other)).steps.values() if step.answers] == ["cf:user:anna"]
    again = await fork(desk, other, 2, answers={2: {"decision": "yes"}}, overrides={"b": {"n": -1}})
    assert (await desk.ended(again)).outcome == "succeeded"
    assert (await state_of(desk, again)).document["n"] == -1
    assert await way(desk, again) == ["0.a", "1.a", "2.ask", "3.b"]
    assert await told(desk, run) == before
    places = [one.place for one in await checkpoints(desk.engine, again, SCOPE)]
    assert places == [0, 1, 2, 3]


async def test_facts_differ_in_a_fork(desk: Desk) -> None:
    rules = (rule("r", "a", f.Goto("c"), hint="left"), f.FlowRule("say", (f.Assert("mood", {"value": "good"}),), "a"))
    run = await desk.start_graph(graph(node("a"), node("b"), node("c"), rules=rules))
    await desk.ended(run)
    assert await way(desk, run) == ["0.a", "1.b", "2.c"]
    other = await fork(desk, run, 0, said=({"fact": "hint", "slots": {"value": "left"}},))
    await desk.ended(other)
    assert await way(desk, other) == ["0.a", "1.c"]
    assert [fact.template for fact in (await state_of(desk, other)).memo.facts] == ["hint", "mood"]
    third = await fork(desk, other, 1, unsaid=({"fact": "hint"},))
    await desk.ended(third)
    assert [fact.template for fact in (await state_of(desk, third)).memo.facts] == ["mood"]


async def test_a_fork_at_branches_goes_on_behind_them(desk: Desk) -> None:
    nodes = (node("l", "Bump"), node("r", "note", text="r"), node("fin", "Bump"))
    run = await desk.start_graph(graph(*nodes, blocks=(f.Parallel(("l", "r"), "fin"),)))
    await desk.ended(run)
    other = await fork(desk, run, 0, document={"n": 40})
    await desk.ended(other)
    assert (await state_of(desk, other)).document == {"n": 41, "seen": ["r"]}
    assert await way(desk, other) == ["0.l/branch-0", "0.r/branch-1", "1.fin"]


async def test_changes_that_cannot_take_effect_are_refused(desk: Desk) -> None:
    run = await desk.start_graph(looping())
    await respond(desk, run, {"decision": "yes"})
    await desk.ended(run)
    with pytest.raises(Invalid) as refused:
        await fork(desk, run, 4, document={"zz": 1}, overrides={"nope": {}, "b": {"n": "x"}}, answers={3: {}})
    assert {problem.path for problem in refused.value.problems} == {
        "state.zz", "node_output_overrides.nope", "node_output_overrides.b.n", "respond_payloads.3",
    }  # fmt: skip


# -- diff and replay -----------------------------------------------------------------------------------------------------


async def test_two_runs_are_told_apart_from_the_fork_on(desk: Desk, tmp_path: Path) -> None:
    run = await desk.start_graph(looping())
    await respond(desk, run, {"decision": "yes"})
    await desk.ended(run)
    other = await fork(desk, run, 1, document={"n": 7}, answers={2: {"decision": "no"}})
    await desk.ended(other)
    lives = [await life_of(desk.engine, one, SCOPE, tmp_path) for one in (run, other)]
    found = diff_runs(*lives)
    assert [(step.step, step.diverged_at) for step in found.steps] == [
        (1, "state"),
        (2, "state"),
        (3, "state"),
        (4, "edge_taken"),
    ]
    assert found.steps[0].state_diff == [{"op": "replace", "path": "/n", "value": 7}]
    assert found.final_state_diff == [{"op": "replace", "path": "/n", "value": 107}] and found.final_status_diff is None
    assert (found.routes.orig, found.routes.cf) == (["a", "a", "a", "ask", "b"], ["a", "a", "ask", "c"])
    assert diff_runs(lives[0], lives[0]).steps == []


async def test_calls_of_tools_that_came_back_with_something_else_are_a_difference(tmp_path: Path) -> None:
    read = Node("read", "tool", params={"tool": "std.file_read@1", "static": {"path": "prices.csv"}})
    async with open_desk(tmp_path, graph_grants="tools:std:*", graph_files=str(tmp_path)) as desk:
        lives = []
        for text in ("1", "2"):
            (tmp_path / "prices.csv").write_text(text)
            run = await desk.start_graph(graph(node("a", "Bump"), read, node("b", "Bump")))
            await desk.ended(run)
            lives.append(await life_of(desk.engine, run, SCOPE, tmp_path / "data" / "logs"))
        fork = await fork_run(desk.engine, run, SCOPE, step=1, actor=ANNA)
        await desk.ended(fork)
        kept = await life_of(desk.engine, fork, SCOPE, tmp_path / "data" / "logs")
    (found,) = diff_runs(*lives).steps
    assert (found.step, found.diverged_at, found.state_diff, found.output_diff) == (1, "side_effect", [], None)
    assert found.side_effect_diff is not None
    (before,), (after,) = found.side_effect_diff.orig, found.side_effect_diff.cf
    assert (before.tool, before.args, before.ok) == ("std.file_read", {"path": "prices.csv"}, True)
    assert (before.result["content"], after.result["content"]) == ("1", "2")
    assert diff_runs(lives[1], kept).steps == [], "a step that was taken over did what it did in the run it ended in"


def test_a_json_patch_makes_one_into_the_other() -> None:
    assert json_patch({"a": 1, "b": {"c": [1, 2]}, "d~/": 0}, {"a": True, "b": {"c": [1, 3, 4]}, "e": None}) == [
        {"op": "replace", "path": "/a", "value": True},
        {"op": "replace", "path": "/b/c/1", "value": 3},
        {"op": "add", "path": "/b/c/-", "value": 4},
        {"op": "remove", "path": "/d~0~1"},
        {"op": "add", "path": "/e", "value": None},
    ]


async def test_a_replay_executes_nothing_and_follows_the_same_way(desk: Desk) -> None:
    nodes = (node("l", "Bump"), node("r", "note", text="r"), node("a", "Bump"), node("b", "fail"))
    rules = (f.FlowRule("more", (f.Goto("a"),), "a", (f.Test("n", "lt", 4),)),)
    made = graph(*nodes, blocks=(f.Parallel(("l", "r"), "a"),), rules=rules)
    run = await desk.start_graph(made)
    await desk.ended(run)
    await resume_run(desk.engine, run, SCOPE, place=1)
    await desk.ended(run)
    before = await told(desk, run)
    found = await replay_run(desk.engine, run, SCOPE)
    assert (found.difference, found.outcome, found.state) == (None, "broken", {"n": 4, "seen": ["r"]})
    assert await told(desk, run) == before
    assert made.flow is not None
    fewer = msgspec.structs.replace(made, flow=msgspec.structs.replace(made.flow, rules=()))
    other = await replay_run(desk.engine, run, SCOPE, Definition(fewer))
    assert other.difference is not None and (other.difference.place, other.difference.node) == (1, "a")
