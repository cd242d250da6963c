"""What a graph of rules is compiled to: positions for names, the rules of each node in the order they are to be tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args

import msgspec

from ....errors import Invalid, Problem
from ....spec.graph import Graph, Rule
from ....spec.ir import flow as f
from ....spec.ir.cel import Program, compile_cel
from ....spec.ir.pack.policy import Policy
from ..port import RunOutcome
from .pack import Engine
from .pattern import Pattern

OUTCOME_FIELD: Final = "$outcome"
"""A `when` field: how the step ended. After a step that did not go well, only rules with this field are asked."""
VISITS_FIELD: Final = "$visits"
"""A `when` field: how often the node has been visited in this run, this visit included."""


class Rules(msgspec.Struct, frozen=True):
    """A rule made ready. `caught`: asked after a step that did not go well, too."""

    id: str
    order: int
    salience: int
    tests: tuple[f.Test, ...]
    then: tuple[f.Action, ...]
    uses: tuple[str, ...]
    caught: bool
    cel: Program | None = None
    pattern: Pattern | None = None


class Plan(msgspec.Struct, frozen=True):
    """By node: `follow` is the next one in the fall-through order (-1 = the run ends), `rules` those to be asked after it, `blocks` the
    fan to be started instead of entering it. `names` are the facts of the state: (template, field, only when written)."""

    entry: int
    names: tuple[str, ...]
    position: dict[str, int]
    follow: tuple[int, ...]
    rules: tuple[tuple[Rules, ...], ...]
    blocks: dict[int, f.Parallel]
    facts: tuple[tuple[str, str, bool], ...]
    fields: dict[str, f.Field]
    budgets: dict[str, f.Budget]
    max_steps: int
    bare: bool
    """The graph is in the short form: fields of its rules are any of the document."""
    policy: Policy = Policy()
    packs: tuple[Engine, ...] = ()
    once: frozenset[str] = frozenset()

    @property
    def governed(self) -> bool:
        """Packs are mounted."""
        return bool(self.policy.packs)


def make_plan(graph: Graph) -> Plan:
    """Raises `Invalid` with every name that leads nowhere."""
    names = tuple(node.name for node in graph.nodes)
    position = {name: number for number, name in enumerate(names)}
    flow = graph.flow if graph.flow is not None else short_flow(graph)
    problems = [*_node_problems(graph, position), *_flow_problems(graph, flow, position)]
    if problems:
        raise Invalid(f"the rules of graph `{graph.name}` cannot be followed", problems)
    known = tuple(field.name for field in flow.fields)
    ready = [_ready(rule, order, known) for order, rule in enumerate(flow.rules)]
    of_node = tuple(
        tuple(made for made, rule in zip(ready, flow.rules, strict=True) if rule.node in ("", name)) for name in names
    )
    after = dict(zip(flow.order, flow.order[1:], strict=False))
    first = flow.entry or (flow.order[0] if flow.order else "")
    return Plan(
        entry=position[first] if first else min(0, len(names) - 1),
        names=names,
        position=position,
        follow=tuple(position[after[name]] if name in after else -1 for name in names),
        rules=of_node,
        blocks={position[block.targets[0]]: block for block in flow.blocks},
        facts=tuple((field.template or field.name, field.name, field.lifecycle == "step") for field in flow.fields),
        fields={field.name: field for field in flow.fields},
        budgets=flow.budgets,
        max_steps=graph.max_steps,
        bare=graph.flow is None,
        policy=msgspec.convert(graph.meta.get("graph", {}).get("policy", {}), Policy),
        packs=tuple(Engine(pack) for pack in flow.packs),
        once=frozenset(flow.once),
    )


def short_flow(graph: Graph) -> f.Flow:
    """`Graph.rules` as a flow: the first rule that fits goes, and nothing falls through."""
    rules = tuple(_long(number, rule) for number, rule in enumerate(graph.rules))
    return f.Flow(entry=graph.start, rules=rules, open_state=True)


def _long(number: int, rule: Rule) -> f.FlowRule:
    then: f.Action = f.Goto(rule.goto) if rule.goto else f.Halt(outcome=rule.outcome)  # type: ignore[arg-type]
    tests = tuple(f.Test(field, "eq", value) for field, value in rule.when.items())
    return f.FlowRule(str(number), (then,), rule.node, tests, salience=-number, caught=OUTCOME_FIELD in rule.when)


def _ready(rule: f.FlowRule, order: int, known: tuple[str, ...]) -> Rules:
    cel = compile_cel(rule.cel, known) if rule.cel else None
    pattern = Pattern(rule.clips) if rule.clips else None
    caught = rule.caught or any(test.field == OUTCOME_FIELD for test in rule.tests)
    return Rules(rule.id, order, rule.salience, rule.tests, rule.then, rule.uses, caught, cel, pattern)


def _node_problems(graph: Graph, position: dict[str, int]) -> Iterator[Problem]:
    if len(position) < len(graph.nodes):
        yield Problem("two nodes have the same name", "nodes", hint="rules find nodes by name; rename one")
    if graph.start and graph.start not in position:
        yield Problem(f"there is no node `{graph.start}` to start at", "start", hint=_known(position))
    for number, node in enumerate(graph.nodes):
        if node.phase != "main":
            yield Problem(
                f"node `{node.name}` belongs to phase {node.phase}", f"nodes[{number}].phase", hint="rules know only main"
            )


def _known(position: dict[str, int]) -> str:
    return f"nodes are: {', '.join(position)}"


def _flow_problems(graph: Graph, flow: f.Flow, position: dict[str, int]) -> Iterator[Problem]:
    if graph.flow is None:
        outcomes = get_args(RunOutcome)
        for number, rule in enumerate(graph.rules):
            yield from _unknown(position, f"rules[{number}].node", (rule.node,), needed=True)
            yield from _unknown(position, f"rules[{number}].goto", (rule.goto,))
            if not rule.goto and rule.outcome not in outcomes:
                told = f"a run cannot end `{rule.outcome}`"
                yield Problem(told, f"rules[{number}].outcome", hint=f"one of {', '.join(outcomes)}")
        return
    yield from _unknown(position, "flow.entry", (flow.entry,))
    yield from _unknown(position, "flow.order", flow.order, needed=True)
    if len(set(flow.order)) < len(flow.order):
        yield Problem("a node is named twice", "flow.order", hint="name each node once")
    for number, block in enumerate(flow.blocks):
        yield from _fan_problems(block, f"flow.blocks[{number}]", position)
    fields = {field.name for field in flow.fields}
    for number, one in enumerate(flow.rules):
        path = f"flow.rules[{number}]"
        yield from _unknown(position, f"{path}.node", (one.node,))
        for place, action in enumerate(one.then):
            yield from _action_problems(action, f"{path}.then[{place}]", position, fields if not flow.open_state else None)


def _action_problems(action: f.Action, path: str, position: dict[str, int], fields: set[str] | None) -> Iterator[Problem]:
    if isinstance(action, f.Goto | f.Revisit):
        yield from _unknown(position, f"{path}.target", (action.target,), needed=True)
    elif isinstance(action, f.Parallel):
        yield from _fan_problems(action, path, position)
    elif isinstance(action, f.Interrupt):
        yield from _unknown(position, f"{path}.on_timeout", (action.on_timeout,))
        if action.output_field and fields is not None and action.output_field not in fields:
            known = ", ".join(sorted(fields)) or "none"
            yield Problem(f"there is no state field `{action.output_field}`", f"{path}.output_field", hint=f"fields are: {known}")


def _fan_problems(fan: f.Parallel, path: str, position: dict[str, int]) -> Iterator[Problem]:
    yield from _unknown(position, f"{path}.targets", fan.targets, needed=True)
    yield from _unknown(position, f"{path}.join", (fan.join,))
    if not fan.targets or len(set(fan.targets)) < len(fan.targets):
        yield Problem("parallel targets are different nodes, at least one", f"{path}.targets", hint="name each target once")
    if fan.strategy == "quorum" and not 0 < fan.quorum <= len(fan.targets):
        told = f"{fan.quorum} of {len(fan.targets)} branches cannot be a quorum"
        yield Problem(told, f"{path}.quorum", hint=f"from 1 to {len(fan.targets)}")


def _unknown(position: dict[str, int], path: str, names: Iterable[Any], *, needed: bool = False) -> Iterator[Problem]:
    for name in names:
        if name not in position and (name or needed):
            yield Problem(f"there is no node `{name}`", path, hint=_known(position))
