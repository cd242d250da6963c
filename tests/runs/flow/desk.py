"""Graphs of rules under test: short ways to say one, and to look at what became of it."""

from __future__ import annotations

from typing import Any

from astrarium.runs.message import AnswerAsk
from astrarium.runs.state import RunState
from astrarium.spec.graph import Doors, Graph, Node
from astrarium.spec.ir import flow as f
from tests.specs.dags.desk import SCOPE, Desk

DOORS = Doors(reopen_from=("failed", "broken", "cancelled", "rejected"), mark_step=False)
INT = f.Field("n", "int", default=0)
SEEN = f.Field("seen", "list", default=[])


def node(name: str, function: str = "", **config: Any) -> Node:
    """A Python node; without a function it does nothing."""
    if not function:
        return Node(name, "noop")
    return Node(name, "node", params={"class": f"tests.runs.flow.nodes:{function}", "config": config})


def graph(*nodes: Node, rules: tuple[f.FlowRule, ...] = (), fields: tuple[f.Field, ...] = (INT, SEEN), **more: Any) -> Graph:
    order = more.pop("order", tuple(one.name for one in nodes))
    flow = f.Flow(order=order, rules=rules, fields=fields, blocks=more.pop("blocks", ()), budgets=more.pop("budgets", {}))
    return Graph("case", dialect="graph", router="rules", nodes=nodes, flow=flow, doors=DOORS, **{"max_steps": 100, **more})


def rule(id: str, node: str, *then: f.Action, **when: Any) -> f.FlowRule:
    """`when`: fields as texts, as the mapping form has them."""
    return f.FlowRule(id, then, node, tuple(f.Test(name, "text", str(value)) for name, value in when.items()))


async def state_of(desk: Desk, run: str) -> RunState:
    state = await desk.engine.state(f"run:{run}", SCOPE)
    assert state is not None
    return state  # type: ignore[no-any-return]


async def way(desk: Desk, run: str) -> list[str]:
    """What was visited, as `place.node` and the branch."""
    state = await state_of(desk, run)
    steps = sorted(state.steps.values(), key=lambda step: step.no)
    return [f"{step.place}.{state.node(step.no).name}{'/' + step.branch if step.branch else ''}" for step in steps]


async def respond(desk: Desk, run: str, answer: dict[str, Any], by: str = "anna") -> None:
    """Answer the question a run waits with, once it does."""

    async def asking() -> int | None:
        state = await state_of(desk, run)
        return next((no + 1 for no, step in state.steps.items() if step.status == "asking"), None)

    no = await desk.until(asking) - 1
    await desk.order(run, AnswerAsk(no, by, answer=answer))
