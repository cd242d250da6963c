"""The PII pack: what a run is begun with, what people answer, what goes to tools and comes from them. What halts is never kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from astrarium.runs.past.read import checkpoints
from astrarium.runs.past.replay import replay_run
from astrarium.runs.ports import ToolSpec
from astrarium.runs.routing.port import Ruled
from astrarium.spec.ir.compile import compile_graph
from astrarium.spec.ir.installed import Tool
from astrarium.surfaces.graphs.work.load import installation
from astrarium.worker import load_steps
from tests.llm import Calls, fake_model
from tests.plugins.graph import Ended, begin, ended, records, run
from tests.specs.dags.desk import SCOPE, Desk, open_desk

from .desk import respond

PII = "stargraph.bosun.safety_pii"
SSN, CARD, MAIL = "078-05-1120", "4111 1111 1111 1111", "anna@example.org"
DOCUMENT = """
ir_version: "1.1.0"
id: "graph:private"
governance: [{id: stargraph.bosun.safety_pii}, {id: stargraph.bosun.retries}]
state_schema:
  {text: {type: str, default: ""}, more: {type: dict, default: {}}, number: {type: int, default: 0}, out: {type: str, default: ""}}
nodes:
"""


class Echo:
    """Gives a number that nobody had said whole."""

    spec = ToolSpec("echo", "test", input_schema={"type": "object"})

    async def call(self, args: Any, ctx: Any) -> Any:
        return {"said": args["text"] + "5-1120"}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as made:
        yield made


async def everything(desk: Desk, run_id: str) -> str:
    """All that is kept of a run: its log, its state, what its tries told."""
    state = await desk.engine.state(f"run:{run_id}", SCOPE)
    return repr([await desk.events(run_id), state, await records(desk, run_id)])


async def violations(desk: Desk, run_id: str) -> set[tuple[str, str]]:
    state = await desk.engine.state(f"run:{run_id}", SCOPE)
    assert state is not None
    return {(one.slots["kind"], one.slots["severity"]) for one in state.memo.facts if one.template == "bosun.violation"}


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ({"text": f"it is {SSN}."}, "ssn"),
        ({"more": {"a": [{"b": CARD}]}}, "card"),
        ({"more": {SSN: 1}}, "ssn"),
        ({"number": 4111111111111111}, "card"),
    ],
)
async def test_a_run_begun_with_it_fails_and_keeps_nothing(desk: Desk, state: dict[str, Any], kind: str) -> None:
    found = await run(desk, DOCUMENT + "  - {id: a, kind: passthrough}", **state)
    assert (found.outcome, found.reason) == ("failed", "pack_violation")
    assert await checkpoints(desk.engine, found.run, SCOPE) == []
    kept = await everything(desk, found.run)
    assert SSN not in kept and CARD not in kept and "4111111111111111" not in kept
    assert await violations(desk, found.run) == {(kind, "halt")}
    assert (await replay_run(desk.engine, found.run, SCOPE)).difference is None


async def test_a_number_of_that_length_need_not_be_a_card(desk: Desk) -> None:
    found = await run(desk, DOCUMENT + "  - {id: a, kind: passthrough}", text="4111 1111 1111 1112", number=4111111111111112)
    assert found.outcome == "succeeded" and await violations(desk, found.run) == set()


async def test_a_run_begun_with_an_address_is_warned_of(desk: Desk) -> None:
    found = await run(desk, DOCUMENT + "  - {id: a, kind: passthrough}", text=MAIL)
    assert (found.outcome, found.state["text"]) == ("succeeded", MAIL)
    assert await violations(desk, found.run) == {("email", "warn")}
    began = [event for event in await desk.events(found.run) if type(event).__name__ == "RunBegan"]
    (told,) = [move for event in began for move in event.moves if isinstance(move, Ruled)]
    assert [record["fact"]["kind"] for record in told.audit] == ["email"] and MAIL not in repr(told)


ASK = DOCUMENT + "  - {id: ask, kind: interrupt, config: {prompt: 'who?', output_field: more}}\n  - {id: b, kind: passthrough}"


async def test_an_answer_with_it_ends_the_run_and_is_not_kept(desk: Desk) -> None:
    waiting = await begin(desk, ASK)
    await respond(desk, waiting, {"who": f"me, {CARD}"})
    found = await ended(desk, waiting)
    assert (found.outcome, found.reason, found.state["more"]) == ("failed", "pack_violation", {})
    assert CARD not in await everything(desk, waiting)
    assert await violations(desk, waiting) == {("card", "halt")}
    assert (await replay_run(desk.engine, waiting, SCOPE)).difference is None


async def test_an_answer_with_an_address_is_warned_of(desk: Desk) -> None:
    waiting = await begin(desk, ASK)
    await respond(desk, waiting, {"who": MAIL})
    found = await ended(desk, waiting)
    assert (found.outcome, found.state["more"]) == ("succeeded", {"who": MAIL})
    assert await violations(desk, waiting) == {("email", "warn")}


async def test_arguments_of_tools_are_looked_at_before_anybody_is_told(desk: Desk) -> None:
    node = f"  - {{id: calc, kind: tool, config: {{tool: std.calculator@1, static: {{expression: '1 # {SSN}'}}, out: out}}}}"
    found = await run(desk, DOCUMENT + node)
    assert (found.outcome, found.reason, found.error) == (
        "failed",
        "pack_violation",
        f"{PII}: the evidence looks like it holds a ssn",
    )
    assert SSN not in await everything(desk, found.run)
    assert (await desk.steps(found.run))["calc"].tries == 1


async def test_a_model_is_not_told_that_a_call_was_stopped(desk: Desk) -> None:
    with fake_model([Calls([("std__calculator", {"expression": f"1 # {SSN}"})]), "it went well"]) as model:
        config = f"{{model: tiny, api_base: '{model.url}', input: go, tools: [std.calculator@1]}}"
        found = await run(desk, DOCUMENT + f"  - {{id: a, kind: react, config: {config}}}")
        assert len(model.asked) == 1
    assert (found.outcome, found.reason) == ("failed", "pack_violation")
    assert SSN not in await everything(desk, found.run)


async def test_results_of_tools_are_looked_at_before_anybody_is_told(desk: Desk) -> None:
    means = desk.worker.shop.means
    desk.worker.shop.means = means._replace(tools={**means.tools, "test.echo@1": Echo()})
    node = "  - {id: echo, kind: tool, config: {tool: test.echo@1, static: {text: '078-0'}, out: more}}"
    found = await run_unchecked(desk, node)
    assert (found.outcome, found.reason) == ("failed", "pack_violation")
    assert SSN not in await everything(desk, found.run)
    assert [one["type"] for one in await records(desk, found.run)] == ["tool_call"]


async def run_unchecked(desk: Desk, node: str) -> Ended:
    """A document with a tool that is installed here alone."""
    known = installation(load_steps(), desk.folder)
    tools = {**(known.tools or {}), "test.echo@1": Tool()}
    compiled = compile_graph(DOCUMENT + node, file="case.yaml", installed=known._replace(tools=tools))
    return await ended(desk, await desk.start_graph(compiled.graph))
