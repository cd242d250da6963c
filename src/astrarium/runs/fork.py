"""Forks: a new run with another's past up to a step, and something different from there on.

The order carries everything the new run needs (memo, kept steps with their outputs, document, resolved parameters), so it lives on
when its parent leaves the log. A graph of edges is forked from the parent's present state: the named step, what follows from it and
what had not ended by itself run again. A graph of rules is forked from the moment the named step ended, read back from the log:
the decision that followed is taken anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict

import msgspec

from ..errors import Invalid, NotFound, Problem, Refused
from ..kernel.engine import Engine
from ..kernel.filling import NewThing
from ..kernel.types import ENGINE, Actor, Command, Scope
from ..spec.ids import uuid7
from .message import ForkRun, Inherited, Origin, StartRun
from .past.mutate import Mutation, check, fork_rules
from .state import RunState, Step, dump_state, load_state


class Changes(TypedDict, total=False):
    """`params`: a start text as for a new run; everything runs again. `outputs`: node name → what its step shall have made, though it
    failed or never ran; what follows from it runs again. `document`: fields of a rules graph's state document to be overridden;
    `mutation`: all that may differ in such a graph."""

    params: str | None
    outputs: dict[str, str] | None
    document: dict[str, Any] | None
    mutation: Mutation | None


async def fork_run(
    engine: Engine,
    source_run_id: str,
    scope: Scope,
    *,
    step: str | int | None = None,
    changes: Changes | None = None,
    actor: Actor = ENGINE,
    key: str = "",
    alias: str = "",
    graph: str = "",
    things: Sequence[NewThing] = (),
    labels: Mapping[str, str] | None = None,
) -> str:
    """Fork a run and return the new run's id. `step` is a node's name or id, or a step's number (of a graph of rules, its place on the
    way); None = go on from where the source came to: what did not go well runs again. `alias` is the id the client shall know the run by;
    `graph` another version of the graph, with the same nodes (`things`: to be stored with it); `labels` are added to the source's.
    Raises `NotFound` for an unknown run or step, `Invalid` for changes that cannot take effect, `Refused` when the log the fork needs was
    pruned."""
    source = await engine.state(f"run:{source_run_id}", scope)
    if source is None:
        raise NotFound(f"there is no run {source_run_id}")
    asked = {name: value for name, value in (changes or {}).items() if value is not None}
    run = uuid7()
    start = StartRun(
        graph or source.graph, source.name, source.surface, alias or run, str(asked.get("params", source.params)), "fork",
        queue=source.queue, queue_limit=source.queue_limit, at_once=not source.queued_at, priority=source.priority,
        labels={**source.labels, **(labels or {})}, chosen=bool(alias),
    )  # fmt: skip
    if source.known.router.kind == "rules":
        order = await _fork_rules(engine, source, start, step, asked, f"cf:{actor}")
    else:
        order = _fork_depends(source, start, step, asked)
    if graph:
        await _check_version(engine, source, graph, things)
    receipt = await engine.submit(Command(f"run:{run}", order, scope, actor, key), things)
    return receipt.stream.partition(":")[2]


async def _check_version(engine: Engine, source: RunState, graph: str, things: Sequence[NewThing]) -> None:
    """The router's memory of the source is worth something for this graph only if its nodes are the same."""
    for kind, data in things:
        engine.things.know(kind, data)
    other = (await engine.things.fetch((graph,)))[graph]
    names = [[node.name for node in known.nodes] for known in (source.known, other)]
    if names[0] != names[1] or source.known.graph.router != other.graph.router:
        told = f"the other version of {source.name} has other nodes: {', '.join(names[1])}"
        raise Invalid(told, [Problem(told, "graph", hint=f"nodes of the run are: {', '.join(names[0])}")])


def _from_start(source: RunState, start: StartRun, at_step: int, asked: dict[str, Any]) -> ForkRun:
    """A fork that keeps nothing: parameters are resolved anew."""
    if asked.get("outputs"):
        told = "no step is kept, so no output can be overridden"
        raise Invalid(told, [Problem(told, "outputs", hint="leave the parameters as they are to keep steps")])
    return ForkRun(
        start, source.run, source.round, at_step, document=dict(asked.get("document", {})), changes=asked,
        prepare=source.known.graph.prepare is not None,
    )  # fmt: skip


def _must_start_over(source: RunState, asked: dict[str, Any]) -> bool:
    unprepared = source.known.graph.prepare is not None and not source.prepared
    return "params" in asked or unprepared


def _fork_depends(source: RunState, start: StartRun, step: str | int | None, asked: dict[str, Any]) -> ForkRun:
    definition = source.known
    if asked.get("document"):
        told = "this graph has no state document"
        raise Invalid(told, [Problem(told, "document", hint="override outputs or parameters instead")])
    at = _find_node(source, step)
    if _must_start_over(source, asked):
        return _from_start(source, start, at, asked)
    outputs: dict[str, str] = asked.get("outputs", {})
    overridden = {_find_node(source, name): (name, text) for name, text in outputs.items()}
    again = [edge.target for edge in definition.graph.edges if edge.source in overridden]
    if at >= 0:
        again.append(at)
    router, plan = definition.router, definition.plan
    memo = router.load(plan, router.dump(source.memo))
    given = [node for node in overridden if _may_be_given(source, node)]
    for node in given:
        router.mark(plan, memo, node, "succeeded")
    if step is None and not overridden:
        forgotten = router.reset(plan, memo, None)
    else:
        forgotten = router.rewind(plan, memo, again)
    kept = [one for one in _kept(source, forgotten) if one.no not in given]
    kept += [Inherited(node, node, "succeeded") for node in given if node not in forgotten]
    return ForkRun(
        start, source.run, source.round, at, _override(source, kept, overridden), router.dump(memo), source.resolved,
        changes=asked,
    )  # fmt: skip


def _may_be_given(source: RunState, node: int) -> bool:
    """Whether a step that did not go well, or never came to its end, may be taken as one that made what the client says."""
    step = source.steps.get(node)
    done = step is not None and step.status == "done" and step.outcome in ("succeeded", "skipped")
    return not done and source.known.nodes[node].output is not None


async def _fork_rules(
    engine: Engine, source: RunState, start: StartRun, step: str | int | None, asked: dict[str, Any], by: str
) -> ForkRun:
    at = _find_visit(source, step)
    if at < 0 or _must_start_over(source, asked):
        return _from_start(source, start, at, asked)
    place = source.steps[at].place
    kept = _kept(source, ())
    latest = {one.node: one.no for one in sorted(kept, key=lambda one: one.no) if one.no <= at}
    outputs: dict[str, str] = asked.get("outputs", {})
    overridden = {latest.get(_find_node(source, name), -1): (name, text) for name, text in outputs.items()}
    told: Mutation = asked.pop("mutation", Mutation())
    mutation = msgspec.structs.replace(told, document={**asked.get("document", {}), **told.document})
    changes = {**asked, "mutation": msgspec.to_builtins(told, str_keys=True)} if told != Mutation() else asked
    try:
        order = await fork_rules(engine, source, start, place, mutation, by, changes, kept)
    except Refused as refused:
        if refused.code == "pruned" and at == max(source.steps):
            return _at_the_end(source, start, at, mutation, by, changes, _override(source, kept, overridden))
        raise
    return msgspec.structs.replace(order, steps=_override(source, list(order.steps), overridden))


def _at_the_end(
    source: RunState, start: StartRun, at: int, mutation: Mutation, by: str, changes: dict[str, Any], kept: tuple[Inherited, ...]
) -> ForkRun:
    """Without the log only the last state is left, which is the past of the last step."""
    check(source, mutation, source.steps[at].place)
    past = load_state(source.run, source.scope, dump_state(source), source.known)
    router, plan = source.known.router, source.known.plan
    router.rewind(plan, past.memo, (at,))
    return ForkRun(
        start, source.run, source.round, at, kept, router.dump(past.memo), source.resolved,
        {**past.document, **mutation.document}, changes, overrides=mutation.overrides, answers=mutation.answers, by=by,
    )  # fmt: skip


def _find_node(source: RunState, step: str | int | None) -> int:
    """A node of the main phase by name, id or position; -1 for none asked."""
    nodes = source.known.nodes
    if step is None:
        return -1
    if isinstance(step, int):
        found = [step] if 0 <= step < len(nodes) else []
    else:
        found = [place for place, node in enumerate(nodes) if step in (node.name, node.id)]
    if not found:
        raise NotFound(f"run {source.alias} of {source.name} has no step {step!r}")
    if nodes[found[0]].phase != "main":
        raise Invalid(f"{nodes[found[0]].name} is a handler: only steps can be forked or overridden")
    return found[0]


def _find_visit(source: RunState, step: str | int | None) -> int:
    """The number of an ended step of a rules graph: as given, the newest visit of a node, or the newest of all (-1 = none)."""
    ended = [one for one in source.steps.values() if one.status == "done"]
    if isinstance(step, str):
        node = _find_node(source, step)
        ended = [one for one in ended if one.node == node]
    elif step is not None:
        ended = [one for one in ended if one.place == step]
    if not ended and step is not None:
        raise NotFound(f"run {source.alias} of {source.name} has no ended step {step!r}")
    return max((one.no for one in ended), default=-1)


def _kept(state: RunState, forgotten: Collection[int]) -> list[Inherited]:
    return [
        _inherited(state, step)
        for step in state.steps.values()
        if step.status == "done" and step.no not in forgotten and state.known.nodes[step.node].phase == "main"
    ]


def _inherited(state: RunState, step: Step) -> Inherited:
    assert step.outcome is not None, "a step that is done has an outcome"
    origin = step.origin
    if origin is None and step.try_no:
        origin = Origin(state.run, state.created_at, step.round, step.try_no)
    return Inherited(
        step.no, step.node, step.outcome, step.output, step.exit_code, step.error, step.tolerated, step.marked, step.passed,
        step.partial, step.try_no, step.passes, step.started_at, step.ended_at, tuple(step.answers), origin, at=step.at,
        branch=step.branch, patch=step.patch,
    )  # fmt: skip


def _override(source: RunState, kept: list[Inherited], overridden: dict[int, tuple[str, str]]) -> tuple[Inherited, ...]:
    """Kept steps with the outputs the client wants them to have made. `Invalid` for a step that is not kept or makes none."""
    nodes = source.known.nodes
    with_output = {one.no for one in kept if one.output is not None or nodes[one.node].output is not None}
    problems = [
        Problem(
            f"the output of step {name!r} cannot be overridden: the fork does not keep one", f"outputs.{name}",
            hint="override outputs of steps before the one forked at",
        )
        for no, (name, _) in overridden.items()
        if no not in with_output
    ]  # fmt: skip
    if problems:
        raise Invalid(str(problems[0]), problems)
    return tuple(msgspec.structs.replace(one, output=overridden[one.no][1]) if one.no in overridden else one for one in kept)
