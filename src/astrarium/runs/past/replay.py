"""The router asked again: from what a run's steps gave, and nothing executed, the same moves must follow.

Each event's moves are decided anew under the state as it was, then the recorded event is folded: so the first difference is the first
place where the router, or the graph it follows, would now go another way.
Source: Stargraph 0.8 (contract 5.4), where node outputs are the cassette.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...kernel.engine import Engine
from ...kernel.types import Event, Scope
from ..fold.move import ended_of
from ..message import FanExpired, RunBegan, RunCreated, RunForked, RunPrepared, RunReopened, RunStopping, StepEnded
from ..routing.port import MoveOn
from ..state import Definition, RunState
from .read import find_run, fold, fresh, read_log


class Difference(msgspec.Struct, frozen=True):
    """Where the ways part: the event, the step that had ended (-1 = the run had begun), what was recorded and what would follow now."""

    seq: int
    event: str
    place: int
    node: str
    recorded: tuple[MoveOn, ...]
    now: tuple[MoveOn, ...]


class Replayed(msgspec.Struct, frozen=True):
    """`steps`: how many ends of steps were replayed alike; `state`, `outcome`: what was come to."""

    run: str
    steps: int
    difference: Difference | None
    state: dict[str, Any]
    outcome: str


async def replay_run(engine: Engine, run: str, scope: Scope, definition: Definition | None = None) -> Replayed:
    """Replay a run's log, under another definition if one is given. Raises `NotFound`, and `Refused` when the log was pruned."""
    source = await find_run(engine, run, scope)
    return replay(run, [event async for event in read_log(engine, source)], source, definition or source.known)


def replay(run: str, events: Sequence[Event], source: RunState, definition: Definition) -> Replayed:
    state = fresh(source)
    state.known = definition
    steps = 0
    for event in events:
        body = event.body
        if type(body) is RunCreated or type(body) is RunForked:
            fold(state, body, event.at)
            continue
        if type(body) in ASKED:
            now = tuple(ASKED[type(body)](state, body))
            if now != tuple(body.moves):
                step = state.steps.get(body.no) if type(body) is StepEnded else None
                node = state.node(step.no).name if step is not None else ""
                found = Difference(event.seq, type(body).__name__, step.place if step else -1, node, tuple(body.moves), now)
                return Replayed(run, steps, found, state.document, state.outcome or "")
        fold(state, body, event.at)
        steps += type(body) is StepEnded
    return Replayed(run, steps, None, state.document, state.outcome or "")


def _ended(state: RunState, body: StepEnded) -> list[MoveOn]:
    known = state.known
    if state.node(body.no).phase == "on_wait":
        return list(body.moves)
    return known.router.advance(known.plan, state.memo, ended_of(state.steps[body.no], body), state.document)


def _begun(state: RunState, body: RunBegan | RunPrepared) -> list[MoveOn]:
    if not body.moves:  # the run was to be prepared first, or could not be
        return []
    return state.known.router.begin(state.known.plan, state.memo, state.document)


def _reopened(state: RunState, body: RunReopened) -> list[MoveOn]:
    if not body.moves:  # it waited in a queue
        return []
    router, plan = state.known.router, state.known.plan
    memo = router.load(plan, body.back.memo if body.back is not None else router.dump(state.memo))
    router.reset(plan, memo, body.step)
    return router.begin(plan, memo, body.back.document if body.back is not None else state.document)


def _expired(state: RunState, body: FanExpired) -> list[MoveOn]:
    return state.known.router.expire(state.known.plan, state.memo, body.at, state.document)


def _stopping(state: RunState, body: RunStopping) -> list[MoveOn]:
    if not body.moves:  # open steps had to end first
        return []
    router, plan = state.known.router, state.known.plan
    memo = router.load(plan, router.dump(state.memo))
    router.fold_stop(plan, memo, body.outcome, body.reason)
    return router.stop(plan, memo, body.outcome, body.reason)


ASKED: dict[type, Any] = {
    StepEnded: _ended, RunBegan: _begun, RunPrepared: _begun, RunReopened: _reopened, FanExpired: _expired, RunStopping: _stopping,
}  # fmt: skip
