"""How a run comes to be: started, forked from another's past, or taken over when it is over already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import Refused
from ..kernel.types import Facts
from ..spec.ir.pack.policy import SAFETY_PII, violated, violation_fact, withheld
from .message import (
    ForkRun,
    ImportRun,
    RunBegan,
    RunCreated,
    RunEnded,
    RunForked,
    RunImported,
    RunPrepared,
    StartRun,
    StepAsked,
    StepDropped,
    StepEnded,
)
from .ports import Ask
from .routing.port import Close, Drop, MoveOn, Question
from .routing.rules.memo import open_memo
from .state import Definition, RunState, Step

Events = list[Any]
MAX_DEPTH = 20


def alias_slot(start: StartRun) -> str:
    return id_slot(start.surface, start.name, start.alias)


def id_slot(surface: str, name: str, alias: str) -> str:
    return f"run-id/{surface}/{name}/{alias}"


def active_slot(surface: str, name: str) -> str:
    return f"active/{surface}/{name}"


def queue_slot(queue: str) -> str:
    return f"queue/{queue}"


def start_run(state: RunState, command: StartRun, facts: Facts) -> Events:
    check_start(state, command, facts)
    definition: Definition = facts.things[command.graph]
    if definition.shape is not None:
        definition.shape.start(command.state)
        command = looked_at(definition, command, state.run)
    resolved = command.resolved
    events: Events = [RunCreated(command if resolved is None else msgspec.structs.replace(command, resolved=None))]
    if command.queue and not command.at_once:
        return events
    memo, prepare = definition.router.fresh(definition.plan), definition.graph.prepare is not None
    document: dict[str, Any] = {}
    if definition.shape is not None:
        document = definition.shape.complete(command.state)
        open_memo(memo, command.alias or state.run, command.said)
    if not prepare or resolved is None:
        return [*events, *begin(definition, memo, document, prepare, facts.now)]
    moves = definition.router.begin(definition.plan, memo, document)
    return [*events, RunBegan(prepared=True), RunPrepared(resolved, tuple(moves)), *following(moves, facts.now)]


def looked_at(definition: Definition, start: StartRun, run: str) -> StartRun:
    """What a run is begun with, as its packs let it pass: a text that must not be told is not kept either."""
    policy = definition.policy
    found = violated(policy, start.state)
    if not found:
        return start
    said = tuple(violation_fact(one, SAFETY_PII, start.alias or run) for one in found)
    return msgspec.structs.replace(start, state=withheld(policy, start.state), said=said)


def check_start(state: RunState, start: StartRun, facts: Facts) -> None:
    if state.status != "new":
        raise Refused(f"run {state.run} has begun already", code="already_exists")
    if start.depth > MAX_DEPTH:
        raise Refused(f"{start.name} would be nested {start.depth} levels deep; at most {MAX_DEPTH} are allowed", code="too_deep")
    if start.chosen and facts.slots[alias_slot(start)].holders:
        raise Refused(
            f"a run {start.alias!r} of {start.name} exists already", code="already_exists", hint="choose another run id"
        )
    if start.exclusive or start.max_active > 0:
        holders = facts.slots[active_slot(start.surface, start.name)].holders
        limit = 1 if start.exclusive else start.max_active
        if len(holders) >= limit:
            raise Refused(
                f"{start.name} is running already ({len(holders)} active, at most {limit})",
                code="already_running",
                hint="wait for it, stop it, or enqueue the run",
            )


def begin(definition: Definition, memo: Any, document: dict[str, Any], prepare: bool, now: int) -> Events:
    """First events of a run that has its place."""
    if prepare:
        return [RunBegan()]
    moves = definition.router.begin(definition.plan, memo, document)
    return [RunBegan(tuple(moves)), *following(moves, now)]


def following(moves: Sequence[MoveOn], now: int, state: RunState | None = None) -> Events:
    """What moves entail in the same decision: steps nothing waits for end, questions are asked, and a `Close` ends the run and what
    still runs to tell of a wait."""
    events: Events = []
    for move in moves:
        if type(move) is Drop:
            events.append(StepDropped(move.no))
        elif type(move) is Question:
            events.append(StepAsked(move.no, move.ask, ask_until(move.ask, now)))
    last = moves[-1] if moves else None
    if type(last) is not Close:
        return events
    tellers = [step for step in state.steps.values() if is_teller(state, step)] if state is not None else []
    return [*events, *(StepEnded(step.no, "cancelled") for step in tellers), RunEnded(last.outcome, last.reason)]


def ask_until(ask: Ask, now: int) -> int:
    """When a question asked now is over; 0 = never."""
    return now + int(ask.timeout_s * 1_000_000) if ask.timeout_s else 0


def is_teller(state: RunState, step: Step) -> bool:
    """Whether an open step only tells people of a wait: nothing waits for it."""
    return step.status not in ("done", "idle") and state.known.nodes[step.node].phase == "on_wait"


def fork_run(state: RunState, command: ForkRun, facts: Facts) -> Events:
    check_start(state, command.start, facts)
    definition: Definition = facts.things[command.start.graph]
    if command.start.queue and not command.start.at_once:
        return [RunForked(command)]
    router = definition.router
    fresh = command.memo is None
    memo = router.fresh(definition.plan) if fresh else router.load(definition.plan, command.memo)
    if definition.shape is not None:
        open_memo(memo, command.start.alias or state.run, command.start.said)
    return [RunForked(command), *begin(definition, memo, command.document, command.prepare, facts.now)]


def import_run(state: RunState, command: ImportRun, facts: Facts) -> Events:
    if state.status != "new":
        raise Refused(f"run {state.run} has begun already", code="already_exists")
    return [RunImported(command)]
