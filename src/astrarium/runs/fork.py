"""Forks: a new run with another's past up to a step, and something different from there on.

The order carries everything the new run needs (memo, kept steps with their outputs, document, resolved parameters), so it lives on
when its parent leaves the log. A graph of edges is forked from the parent's present state: the named step, what follows from it and
what had not ended by itself run again. A graph of rules is forked from the moment the named step ended, read back from the log:
the decision that followed is taken anew.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypedDict

import msgspec

from ..errors import Invalid, NotFound, Problem, Refused
from ..kernel.engine import Engine
from ..kernel.types import ENGINE, Actor, Command, Scope, Tombstone
from ..spec.ids import uuid7
from .fold import FOLDS
from .message import ForkRun, Inherited, Origin, StartRun, StepEnded
from .state import RunState, Step, dump_state, load_state


class Changes(TypedDict, total=False):
    """`params`: a start text as for a new run; everything runs again. `outputs`: node name → what its kept step shall have made; what
    follows from it runs again. `document`: fields of a rules graph's state document to be overridden."""

    params: str | None
    outputs: dict[str, str] | None
    document: dict[str, Any] | None


async def fork_run(
    engine: Engine,
    source_run_id: str,
    scope: Scope,
    *,
    step: str | int | None = None,
    changes: Changes | None = None,
    actor: Actor = ENGINE,
    key: str = "",
) -> str:
    """Fork a run and return the new run's id. `step` is a node's name or id, or a step's number; None = go on from where the source
    came to: what did not go well runs again. Raises `NotFound` for an unknown run or step, `Invalid` for changes that cannot take
    effect, `Refused` when the log the fork needs was pruned."""
    source = await engine.state(f"run:{source_run_id}", scope)
    if source is None:
        raise NotFound(f"there is no run {source_run_id}")
    asked = {name: value for name, value in (changes or {}).items() if value is not None}
    run = uuid7()
    start = StartRun(
        source.graph, source.name, source.surface, run, str(asked.get("params", source.params)), "fork",
        priority=source.priority, labels=source.labels,
    )  # fmt: skip
    if source.known.router.kind == "rules":
        order = await _fork_rules(engine, source, start, step, asked)
    else:
        order = _fork_depends(source, start, step, asked)
    receipt = await engine.submit(Command(f"run:{run}", order, scope, actor, key))
    return receipt.stream.partition(":")[2]


def _from_start(source: RunState, start: StartRun, at_step: int, asked: dict[str, Any]) -> ForkRun:
    """A fork that keeps nothing: parameters are resolved anew."""
    if asked.get("outputs"):
        told = "no step is kept, so no output can be overridden"
        raise Invalid(told, [Problem(told, "changes.outputs", hint="leave the parameters as they are to keep steps")])
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
        raise Invalid(told, [Problem(told, "changes.document", hint="override outputs or parameters instead")])
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
    if step is None and not overridden:
        forgotten = router.reset(plan, memo, None)
    else:
        forgotten = router.rewind(plan, memo, again)
    kept = _kept(source, forgotten)
    return ForkRun(
        start, source.run, source.round, at, _override(source, kept, overridden), router.dump(memo), source.resolved,
        changes=asked,
    )  # fmt: skip


async def _fork_rules(
    engine: Engine, source: RunState, start: StartRun, step: str | int | None, asked: dict[str, Any]
) -> ForkRun:
    at = _find_visit(source, step)
    if at < 0 or _must_start_over(source, asked):
        return _from_start(source, start, at, asked)
    past = await _past(engine, source, at)
    router, plan = source.known.router, source.known.plan
    router.rewind(plan, past.memo, (at,))
    kept = _kept(past, ())
    latest = {one.node: one.no for one in sorted(kept, key=lambda one: one.no)}
    outputs: dict[str, str] = asked.get("outputs", {})
    overridden = {latest.get(_find_node(source, name), -1): (name, text) for name, text in outputs.items()}
    document = {**past.document, **asked.get("document", {})}
    return ForkRun(
        start, source.run, source.round, at, _override(source, kept, overridden), router.dump(past.memo), source.resolved,
        document, asked,
    )  # fmt: skip


async def _past(engine: Engine, source: RunState, no: int) -> RunState:
    """A run as it was when step `no` had ended and nothing had followed from that yet."""
    past = RunState(run=source.run, scope=source.scope, known=source.known)
    seq = 0
    while page := await engine.tail.read_stream(f"run:{source.run}", seq):
        for event in page:
            body, seq = event.body, event.seq
            if type(body) is Tombstone:
                return _pruned_past(source, no)
            if type(body) is StepEnded and body.no == no:
                FOLDS[StepEnded](past, msgspec.structs.replace(body, moves=()), event.at)
                return past
            FOLDS[type(body)](past, body, event.at)
    raise Refused(f"the log of run {source.alias} does not tell how step {no} ended")


def _pruned_past(source: RunState, no: int) -> RunState:
    """Without the log only the last state is left, which is the past of the last step."""
    if no != max(source.steps):
        raise Refused(
            f"the log of run {source.alias} was pruned: it can be forked at its last step only", code="pruned",
            hint=f"fork at step {max(source.steps)}, or start a new run",
        )  # fmt: skip
    return load_state(source.run, source.scope, dump_state(source), source.known)


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
        ended = [one for one in ended if one.no == step]
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
        step.partial, step.try_no, step.passes, step.started_at, step.ended_at, tuple(step.answers), origin,
    )  # fmt: skip


def _override(source: RunState, kept: list[Inherited], overridden: dict[int, tuple[str, str]]) -> tuple[Inherited, ...]:
    """Kept steps with the outputs the client wants them to have made. `Invalid` for a step that is not kept or makes none."""
    nodes = source.known.nodes
    with_output = {one.no for one in kept if one.output is not None or nodes[one.node].output is not None}
    problems = [
        Problem(
            f"the output of step {name!r} cannot be overridden: the fork does not keep one", f"changes.outputs.{name}",
            hint="override outputs of steps before the one forked at",
        )
        for no, (name, _) in overridden.items()
        if no not in with_output
    ]  # fmt: skip
    if problems:
        raise Invalid(str(problems[0]), problems)
    return tuple(msgspec.structs.replace(one, output=overridden[one.no][1]) if one.no in overridden else one for one in kept)
