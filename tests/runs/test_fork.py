"""Forks: what is inherited, what runs again, and that a fork needs its parent no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from astrarium.errors import Invalid, NotFound, Refused
from astrarium.kernel.types import Scope
from astrarium.runs.fork import Changes, fork_run
from astrarium.runs.message import AnswerAsk, MarkStep, ReopenRun, RunForked, StopRun
from astrarium.spec.graph import Graph, Node, Output, Rule
from tests.specs.dags.desk import ANNA, SCOPE, Desk, open_desk

DIAMOND = """
type: graph
params: WORD=hi
steps:
  - {name: a, id: aa, command: 'echo "a $WORD" | tee -a ran', output: A}
  - {name: b, command: 'echo "b after $A" | tee -a ran', depends: a, output: B}
  - {name: c, command: 'echo c >> ran; test -f mended', depends: a}
  - {name: d, command: 'echo "d $A $B" >> ran', depends: [b, c]}
  - {name: aside, command: 'echo aside | tee -a ran', output: ASIDE}
"""


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


async def fork(desk: Desk, run: str, step: str | int | None = None, **changes: object) -> str:
    return await fork_run(desk.engine, run, SCOPE, step=step, changes=Changes(**changes), actor=ANNA)  # type: ignore[typeddict-item]


def ran(desk: Desk) -> list[str]:
    path = desk.folder / "ran"
    lines = sorted(path.read_text().splitlines()) if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


async def failed_diamond(desk: Desk) -> str:
    run = await desk.start(DIAMOND)
    assert (await desk.ended(run)).outcome == "failed"
    assert ran(desk) == ["a hi", "aside", "b after a hi", "c"]
    return run


async def test_the_step_and_what_follows_run_again_the_rest_is_inherited(desk: Desk) -> None:
    run = await failed_diamond(desk)
    (desk.folder / "mended").touch()
    made = await fork(desk, run, "c")
    row = await desk.ended(made)
    assert (row.outcome, row.forked_from) == ("succeeded", run)
    assert ran(desk) == ["c", "d a hi b after a hi"]
    steps = await desk.steps(made)
    assert {name for name, step in steps.items() if step.inherited} == {"a", "b", "aside"}
    assert row.outputs == {"a": "a hi", "b": "b after a hi", "aside": "aside"}
    parent = await desk.outcomes(run)
    assert parent["c"] == "failed" and parent["d"] == "aborted", "the parent's rows do not change"


async def test_without_a_step_it_goes_on_from_where_the_parent_came_to(desk: Desk) -> None:
    run = await failed_diamond(desk)
    (desk.folder / "mended").touch()
    made = await fork(desk, run)
    assert (await desk.ended(made)).outcome == "succeeded"
    assert ran(desk) == ["c", "d a hi b after a hi"]


async def test_a_failure_elsewhere_is_inherited_too(desk: Desk) -> None:
    run = await failed_diamond(desk)
    made = await fork(desk, run, "b")
    assert (await desk.ended(made)).outcome == "failed"
    assert ran(desk) == ["b after a hi"]
    assert (await desk.outcomes(made))["d"] == "aborted"


async def test_a_step_may_be_named_by_id_or_number(desk: Desk) -> None:
    run = await failed_diamond(desk)
    for step in ("aa", 0):
        made = await fork(desk, run, step)
        await desk.ended(made)
        assert ran(desk) == ["a hi", "b after a hi", "c"]


async def test_a_changed_parameter_runs_everything_again(desk: Desk) -> None:
    run = await failed_diamond(desk)
    (desk.folder / "mended").touch()
    made = await fork(desk, run, "c", params="WORD=ho")
    assert (await desk.ended(made)).outcome == "succeeded"
    assert ran(desk) == ["a ho", "aside", "b after a ho", "c", "d a ho b after a ho"]
    assert not any(step.inherited for step in (await desk.steps(made)).values())


async def test_an_overridden_output_reaches_what_follows(desk: Desk) -> None:
    run = await failed_diamond(desk)
    (desk.folder / "mended").touch()
    made = await fork(desk, run, outputs={"a": "other"})
    row = await desk.ended(made)
    assert row.outcome == "succeeded" and row.outputs["a"] == "other"
    assert ran(desk) == ["b after other", "c", "d other b after other"]
    assert (await desk.row(run)).outputs["a"] == "a hi"


async def test_a_step_that_failed_may_be_given_an_output_and_one_that_never_ran_too(desk: Desk) -> None:
    text = """
type: graph
steps:
  - {name: a, command: 'echo a >> ran; exit 1', output: A}
  - {name: b, command: 'echo "b $A" | tee -a ran', depends: a, output: B}
  - {name: c, command: 'echo "c $B" >> ran', depends: b}
"""
    run = await desk.start(text)
    await desk.ended(run)
    ran(desk)
    made = await fork(desk, run, outputs={"a": "given"})
    row = await desk.ended(made)
    assert (row.outcome, row.outputs) == ("succeeded", {"a": "given", "b": "b given"})
    assert ran(desk) == ["b given", "c b given"]
    steps = await desk.steps(made)
    assert (steps["a"].outcome, steps["a"].inherited, steps["a"].error) == ("succeeded", 1, "")
    other = await fork(desk, run, outputs={"b": "out of thin air"})
    assert (await desk.ended(other)).outcome == "failed", "`a` did"
    assert ran(desk) == ["c out of thin air"]


async def test_changes_that_cannot_take_effect_are_refused(desk: Desk) -> None:
    run = await failed_diamond(desk)
    with pytest.raises(Invalid, match="cannot be overridden"):
        await fork(desk, run, "a", outputs={"a": "x"})
    with pytest.raises(Invalid, match="no output can be overridden"):
        await fork(desk, run, params="WORD=x", outputs={"a": "x"})
    with pytest.raises(Invalid, match="cannot be overridden"):
        await fork(desk, run, "d", outputs={"c": "x"})
    with pytest.raises(Invalid, match="no state document"):
        await fork(desk, run, document={"a": 1})
    with pytest.raises(NotFound):
        await fork(desk, run, "nowhere")
    with pytest.raises(NotFound):
        await fork(desk, "unknown")
    with pytest.raises(NotFound):
        await fork_run(desk.engine, run, Scope("other", "local"))
    assert ran(desk) == []


async def test_a_fork_of_a_fork_outlives_both_parents(desk: Desk) -> None:
    run = await failed_diamond(desk)
    second = await fork(desk, run, "b")
    await desk.ended(second)
    ran(desk)
    third_before = await fork(desk, second, "d")
    await desk.ended(third_before)
    await desk.engine.prune(f"run:{run}", SCOPE)
    await desk.engine.prune(f"run:{second}", SCOPE)
    (desk.folder / "mended").touch()
    third = await fork(desk, second, "c")
    assert (await desk.ended(third)).outcome == "succeeded"
    assert ran(desk) == ["c", "d a hi b after a hi"]
    desk.engine.memory.hot.clear()
    await desk.order(third_before, ReopenRun())
    assert (await desk.ended(third_before)).outcome == "succeeded"
    assert ran(desk) == ["c", "d a hi b after a hi"], "a fork folds and is retried without its parents' logs"


async def test_log_files_of_inherited_steps_can_be_referred_to(desk: Desk) -> None:
    text = """
steps:
  - {name: one, id: one, command: echo from the first}
  - {name: two, command: 'cat ${one.stdout} | tee copy; test -f mended'}
"""
    run = await desk.start(text)
    await desk.ended(run)
    (desk.folder / "mended").touch()
    made = await fork(desk, run, "two")
    assert (await desk.ended(made)).outcome == "succeeded"
    assert (desk.folder / "copy").read_text() == "from the first\n"


async def test_a_running_source_goes_on_undisturbed(desk: Desk) -> None:
    text = """
type: graph
steps:
  - {name: quick, command: echo quick, output: Q}
  - {name: slow, command: 'echo "$Q" >> ran; while ! test -f go; do sleep 0.02; done', depends: quick}
"""
    run = await desk.start(text)
    await desk.file("ran")
    made = await fork(desk, run)
    await desk.file("ran", lambda text: text.count("\n") == 2)
    (desk.folder / "go").touch()
    for each in (run, made):
        assert (await desk.ended(each)).outcome == "succeeded"
    assert (await desk.steps(made))["quick"].inherited
    assert not (await desk.steps(made))["slow"].inherited


async def test_a_stopped_source_goes_on_in_the_fork(desk: Desk) -> None:
    run = await desk.start("steps:\n  - {name: a, command: 'echo a >> ran'}\n  - {name: b, command: 'test -f go || sleep 60'}\n")
    await desk.step_is(run, "b", "running")
    await desk.order(run, StopRun())
    assert (await desk.ended(run)).outcome == "cancelled"
    (desk.folder / "go").touch()
    made = await fork(desk, run)
    assert (await desk.ended(made)).outcome == "succeeded"
    assert ran(desk) == ["a"]


async def test_answers_are_inherited(desk: Desk) -> None:
    text = """
steps:
  - {name: gate, type: hitl, config: {prompt: 'Ship?', input: [TICKET], required: [TICKET]}}
  - {name: ship, command: 'echo "$TICKET" >> ran'}
"""
    run = await desk.start(text)
    await desk.step_is(run, "gate", "asking")
    await desk.order(run, AnswerAsk(await desk.no(run, "gate"), "anna", answer={"TICKET": "T-1"}))
    await desk.ended(run)
    made = await fork(desk, run, "ship")
    assert (await desk.ended(made)).outcome == "succeeded"
    assert ran(desk) == ["T-1", "T-1"]


async def test_handlers_run_again_and_broken_preparation_is_repeated(desk: Desk) -> None:
    text = """
params: N=`cat number`
handlerOn:
  exit: {command: echo exit >> ran}
steps:
  - {name: a, command: 'echo $N >> ran'}
"""
    run = await desk.start(text)
    assert (await desk.ended(run)).reason == "prepare"
    (desk.folder / "number").write_text("7")
    made = await fork(desk, run, "a")
    assert (await desk.ended(made)).outcome == "succeeded"
    assert ran(desk) == ["7", "exit"]
    again = await fork(desk, made)
    assert (await desk.ended(again)).outcome == "succeeded"
    assert ran(desk) == ["exit"]
    with pytest.raises(Invalid, match="handler"):
        await fork(desk, made, "onExit")


async def test_the_same_key_forks_once(desk: Desk) -> None:
    run = await failed_diamond(desk)
    first = await fork_run(desk.engine, run, SCOPE, step="d", key="k")
    assert await fork_run(desk.engine, run, SCOPE, step="d", key="k") == first


async def test_a_fork_can_be_retried_and_marked(desk: Desk) -> None:
    run = await failed_diamond(desk)
    made = await fork(desk, run, "c")
    assert (await desk.ended(made)).outcome == "failed"
    assert ran(desk) == ["c"]
    await desk.order(made, MarkStep(2, "succeeded"))
    await desk.order(made, ReopenRun())
    assert (await desk.ended(made)).outcome == "succeeded"
    assert ran(desk) == ["d a hi b after a hi"]


# -- graphs of rules -----------------------------------------------------------------------------------------------------


def looping() -> Graph:
    """`draft` then `review`, an ask that decides: again, or done."""
    return Graph(
        "loop",
        dialect="rules",
        router="rules",
        nodes=(
            Node("draft", "noop"),
            Node("review", "wait", params={"prompt": "fine?", "input": ["verdict"]}, output=Output("V")),
        ),
        rules=(
            Rule("draft", goto="review"),
            Rule("review", {"verdict": "again"}, goto="draft"),
            Rule("review", {"verdict": "done"}),
        ),
        start="draft",
    )


async def answered(desk: Desk, run: str, *verdicts: str) -> None:
    for verdict in verdicts:
        state = await desk.engine.state(f"run:{run}", SCOPE)

        async def asking() -> int:
            return next((no for no, step in state.steps.items() if step.status == "asking"), -1) + 1  # noqa: B023

        no = await desk.until(asking) - 1
        await desk.order(run, AnswerAsk(no, "anna", answer={"verdict": verdict}))


async def test_rules_go_on_from_the_decision_taken_anew(desk: Desk) -> None:
    run = await desk.start_graph(looping())
    await answered(desk, run, "again", "again", "done")
    assert (await desk.ended(run)).outcome == "succeeded"
    numbers = [body.no for body in await desk.events(run) if type(body).__name__ == "StepEnded"]
    assert numbers == [0, 1, 2, 3, 4, 5]

    other = await fork(desk, run, 1, document={"verdict": "done"})
    assert (await desk.ended(other)).outcome == "succeeded"
    forked = (await desk.events(other))[0]
    assert isinstance(forked, RunForked) and [one.no for one in forked.fork.steps] == [0, 1]
    assert forked.fork.document == {"verdict": "done"}

    same = await fork(desk, run, 3)
    await answered(desk, same, "done")
    assert (await desk.ended(same)).outcome == "succeeded"
    state = await desk.engine.state(f"run:{same}", SCOPE)
    assert sorted(state.steps) == [0, 1, 2, 3, 4, 5] and state.document == {"verdict": "done"}


async def test_rules_fork_at_the_newest_visit_of_a_name_and_from_a_pruned_log_only_at_the_end(desk: Desk) -> None:
    run = await desk.start_graph(looping())
    await answered(desk, run, "again", "done")
    await desk.ended(run)
    await desk.engine.prune(f"run:{run}", SCOPE)
    with pytest.raises(Refused, match="pruned"):
        await fork(desk, run, 1)
    made = await fork(desk, run, "review", document={"verdict": "again"})
    await answered(desk, made, "done")
    assert (await desk.ended(made)).outcome == "succeeded"
    with pytest.raises(NotFound):
        await fork(desk, run, 99)
