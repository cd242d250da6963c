"""Budgets: what is counted, over tries, visits and children, and what happens when it is used up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from astrarium.errors import Invalid
from astrarium.runs.past.read import checkpoints
from astrarium.runs.routing.rules.budget import added, exact, overdrawn
from astrarium.runs.work.tool.means import read_prices
from astrarium.spec.ir.flow import Budget
from tests.llm import fake_model
from tests.plugins.graph import begin, ended, run
from tests.specs.dags.desk import SCOPE, Desk, open_desk

from .desk import respond

SPEND = """
from astrarium.runs.ports import Result

def spend(state, ctx, tokens=0, cost="0", fail=0):
    used = {"tokens": tokens, "cost": cost}
    if ctx.attempt <= fail:
        return Result("broken", error="no", code="No", used=used)
    return Result(patch={"n": state["n"] + 1}, used=used)

async def slow(state, ctx, seconds):
    import asyncio
    await asyncio.sleep(seconds)
    return {}
"""


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    (tmp_path / "purse.py").write_text(SPEND)
    monkeypatch.syspath_prepend(str(tmp_path))
    async with open_desk(tmp_path, model_prices="tiny=0.5/2, *=1") as made:
        yield made


def document(node: str, more: str = "") -> str:
    fields = '{n: {type: int, default: 0}, text: {type: str, default: ""}}'
    return f'ir_version: "1.1.0"\nid: "graph:purse"\nstate_schema: {fields}\nnodes:\n  - {node}\n{more}'


AGAIN = "rules: [{id: again, when: {node: a}, then: [{kind: goto, target: a}]}]\n"


@pytest.mark.parametrize(
    ("node", "more", "visits", "said"),
    [
        ("config: {tokens: 40}, budget: {tokens: 100}", AGAIN, 3, "120 of 100 tokens are used by the node a"),
        ("config: {tokens: 40}", AGAIN + "budget: {tokens: 100}\n", 3, "120 of 100 tokens are used by the run"),
        ("config: {cost: '0.1'}, budget: {cost: 0.3}", AGAIN, 4, "0.4 of 0.3 cost are used by the node a"),
        ("config: {cost: '0.1'}", AGAIN + "budget: {cost: '0.30'}\n", 4, "0.4 of 0.3 cost are used by the run"),
        ("config: {tokens: 60, fail: 9}, budget: {tokens: 100}, retry: {max_attempts: 5}", "", 1,
         "120 of 100 tokens are used by the node a"),
    ],
)  # fmt: skip
async def test_what_is_used_up_ends_the_run(desk: Desk, node: str, more: str, visits: int, said: str) -> None:
    """In decimals a tenth three times is three tenths, not more."""
    found = await run(desk, document(f'{{id: a, kind: "purse:spend", {node}}}', more))
    assert (found.outcome, found.reason) == ("failed", "budget_exhausted")
    steps = await checkpoints(desk.engine, found.run, SCOPE)
    assert len(steps) == visits
    assert steps[-1].chose is not None and steps[-1].chose.reason == f"{said}"


async def test_what_was_used_survives_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "purse.py").write_text(SPEND)
    monkeypatch.syspath_prepend(str(tmp_path))
    spend = 'kind: "purse:spend", config: {tokens: 60}}'
    nodes = f"{{id: a, {spend}\n  - {{id: ask, kind: interrupt, config: {{prompt: more}}}}\n  - {{id: b, {spend}"
    async with open_desk(tmp_path) as desk:
        waiting = await begin(desk, document(nodes, "budget: {tokens: 100}\n"))
        await desk.until(lambda: asking(desk, waiting))
    async with open_desk(tmp_path) as desk:
        await respond(desk, waiting, {"yes": 1})
        found = await ended(desk, waiting)
    assert (found.outcome, found.reason, found.state["n"]) == ("failed", "budget_exhausted", 2)


async def asking(desk: Desk, run_id: str) -> bool:
    state = await desk.engine.state(f"run:{run_id}", SCOPE)
    return state is not None and bool(state.asking)


async def test_time_is_a_budget_of_nodes_and_of_runs(desk: Desk) -> None:
    slow = '{id: a, kind: "purse:slow", config: {seconds: 60}'
    found = await run(desk, document(slow + ", budget: {latency_ms: 20}, retry: {max_attempts: 3}}"))
    assert (found.outcome, found.reason) == ("failed", "budget_exhausted")
    assert found.error == "the node a took longer than the 20 ms of its budget"
    assert (await desk.steps(found.run))["a"].tries == 1
    found = await run(desk, document(slow + "}", "budget: {latency_ms: 20}\n"))
    assert (found.outcome, found.reason) == ("failed", "budget_exhausted")


async def test_what_child_runs_use_counts_for_their_parent(desk: Desk) -> None:
    (desk.folder / "child.yaml").write_text(
        document('{id: b, kind: "purse:spend", config: {tokens: 60}}', "rules: [{id: r, when: {node: b}, then: [{kind: halt}]}]")
    )
    nodes = (
        "{id: a, kind: subgraph, spec: child.yaml}\n  - {id: c, kind: subgraph, spec: child.yaml}\n  - {id: d, kind: passthrough}"
    )
    found = await run(desk, document(nodes, "budget: {tokens: 100}\n"))
    assert (found.outcome, found.reason) == ("failed", "budget_exhausted")
    assert [one.node for one in await checkpoints(desk.engine, found.run, SCOPE)] == ["a", "c"]


async def test_facts_of_rules_count_with_the_pack(desk: Desk) -> None:
    """The same fact without the pack is only a fact."""
    fact = """rules:
  - {id: a, when: {node: a}, then: [{kind: assert, fact: bosun.budget, slots: '{"kind": "cost", "allowed": "0.5", "consumed": "0.50"}'}]}
"""
    node = "{id: a, kind: passthrough}\n  - {id: b, kind: passthrough}"
    found = await run(desk, document(node, fact))
    assert found.outcome == "succeeded"
    found = await run(desk, document(node, fact + "governance: [{id: stargraph.bosun.budgets}]\n"))
    assert (found.outcome, found.reason) == ("failed", "budget_exhausted")
    assert found.error == "stargraph.bosun.budgets: 0.50 of 0.5 cost are used"


ASK = "{{id: a, kind: summarize, config: {{model: {model}, api_base: '{url}', input: text}}, budget: {{cost: {cost}}}}}"


async def test_what_a_model_costs_counts(desk: Desk) -> None:
    with fake_model(["one", "two", "three"]) as model:
        text = document(ASK.format(model="tiny", url=model.url, cost="0.00003"), AGAIN)
        found = await run(desk, text, text="x")
    assert (found.outcome, found.reason) == ("failed", "budget_exhausted")
    used = [event.used for event in await desk.events(found.run) if type(event).__name__ == "StepEnded"]
    assert all(
        Decimal(str(one["cost"])) == (one["tokens"] - 10) * 2 / Decimal(10**6) + 10 * Decimal("0.5") / 10**6
        for one in used
        if one
    )
    assert sum(Decimal(str(one["cost"])) for one in used if one) > Decimal("0.00003")


async def test_a_model_without_a_price_cannot_be_asked_under_a_budget_of_cost(tmp_path: Path) -> None:
    async with open_desk(tmp_path, model_prices="other=1") as desk:
        with fake_model(["one"]) as model:
            found = await run(desk, document(ASK.format(model="tiny", url=model.url, cost=1)), text="x")
            assert model.asked == []
    assert (found.outcome, found.code) == ("broken", "NoPrice")
    assert "model_prices" in found.error


def test_prices_are_decimals() -> None:
    assert read_prices("tiny=0.15, big=2.50/10,*=0") == {
        "tiny": (Decimal("0.15"), Decimal("0.15")), "big": (Decimal("2.50"), Decimal(10)), "*": (Decimal(0), Decimal(0))
    }  # fmt: skip
    assert read_prices("") == {}
    for wrong in ("tiny", "=1", "tiny=x", "tiny=-1", "tiny=1/nan", "tiny=inf"):
        with pytest.raises(Invalid, match="is no price of a model"):
            read_prices(wrong)


def test_sums_are_exact_and_nonsense_is_nothing() -> None:
    assert (added("0.1", 0.2), added(1, 2), added("1.50", "0.5")) == ("0.3", 3, 2)
    assert [exact(value) for value in ("x", -1, "nan", "inf", None, True)] == [0, 0, 0, 0, 0, 0]
    assert overdrawn({"": Budget(10)}, {"": {"tokens": 5}}, "a", {"tokens": 5}) == ""
    assert (
        overdrawn({"": Budget(10)}, {"": {"tokens": 5}}, "a", {"tokens": 6})
        == "11 of 10 tokens are used by the run"
    )
