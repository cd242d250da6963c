"""A run as it was: the log folded up to a moment (`seek` reads a single one without folding all of it).

A checkpoint is the event of a step's end; the full state at it is a fold, never stored twice. Of a run that was opened again, what
counts is the last time a place was reached; what lay behind the point it went on from is superseded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import msgspec

from ...errors import NotFound, Refused
from ...kernel.engine import Engine
from ...kernel.types import Event, Scope, Tombstone
from ..fold.table import FOLDS
from ..message import ForkRun, RunForked, RunReopened, StepEnded
from ..ports import StepOutcome
from ..routing.port import Chose, Drop, Fact, Merge, MoveOn
from ..routing.rules.memo import Memo
from ..state import Definition, RunState


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step that ended: `state` is the document with its patch (a branch's own for a branch), `facts` what had been asserted by then,
    `moves` what followed. `at` is the time, `seq` the place in the log."""

    run: str
    round: int
    no: int
    place: int
    branch: str
    node: str
    outcome: StepOutcome
    state: dict[str, Any]
    patch: dict[str, Any] | None = None
    output: str | None = None
    facts: tuple[Fact, ...] = ()
    moves: tuple[MoveOn, ...] = ()
    error: str = ""
    code: str = ""
    at: int = 0
    seq: int = 0

    @property
    def chose(self) -> Chose | None:
        """What the rules made of it; None for a branch that was not the last, and in graphs of edges."""
        return next((move for move in self.moves if type(move) is Chose), None)


async def find_run(engine: Engine, run: str, scope: Scope) -> RunState:
    state = await engine.state(f"run:{run}", scope)
    if state is None:
        raise NotFound(f"there is no run {run}")
    return state  # type: ignore[no-any-return]


async def read_log(engine: Engine, source: RunState) -> AsyncIterator[Event]:
    """A run's events in order. Raises `Refused` (`pruned`) when the log is not there any more."""
    seq = 0
    while page := await engine.tail.read_stream(f"run:{source.run}", seq):
        for event in page:
            if type(event.body) is Tombstone:
                raise pruned(source.alias)
            seq = event.seq
            yield event


def pruned(alias: str) -> Refused:
    return Refused(f"the log of run {alias} was pruned: only its last state is left", code="pruned")


def fresh(source: RunState) -> RunState:
    """The run before its first event."""
    return RunState(run=source.run, scope=source.scope, known=source.known)


def fold(state: RunState, body: Any, at: int) -> None:
    state.fresh, state.let_go, state.fans = [], [], []
    FOLDS[type(body)](state, body, at)


async def checkpoints(engine: Engine, run: str, scope: Scope, *, superseded: bool = False) -> list[Checkpoint]:
    """Every step that ended, in the order they did; without what a later round went back behind, unless it is asked for. Those a fork
    took over are its source's, as far as that can still be read."""
    source = await find_run(engine, run, scope)
    state, found = fresh(source), list[Checkpoint]()
    async for event in read_log(engine, source):
        body = event.body
        if type(body) is RunForked and body.fork.steps:
            found.extend(await _taken_over(engine, source, body, event))
        elif type(body) is RunReopened and not superseded:
            forgotten = set(body.reset)
            found = [one for one in found if one.no not in forgotten]
        before = dict(state.document) if type(body) is StepEnded else {}
        fold(state, body, event.at)
        if type(body) is StepEnded:
            found.append(checkpoint(state, body, event, before))
    return found


async def _taken_over(engine: Engine, source: RunState, body: RunForked, event: Event) -> list[Checkpoint]:
    """Checkpoints up to the step forked at: as the fork has them, or else as they were in the run they ended in."""
    fork, own = body.fork, inherited(source.run, source.known, body.fork, event)
    kept = {one.no for one in fork.steps if one.no <= fork.at_step} - {one.no for one in own}
    try:
        known = [one for one in await checkpoints(engine, fork.source, source.scope) if one.no in kept] if kept else []
    except (NotFound, Refused):
        known = []
    return [*known, *own]


def inherited(run: str, known: Definition, fork: ForkRun, event: Event) -> list[Checkpoint]:
    """What a fork itself tells of steps it took over: in a graph of rules the one forked at, with the state it begins with; in a graph of
    edges all, since their outputs may be other ones."""
    told = [one for one in fork.steps if known.shape is None or one.no == fork.at_step]
    return [
        Checkpoint(
            run, 1, one.no, one.no if one.at < 0 else one.at, one.branch, known.nodes[one.node].name, one.outcome,
            dict(fork.document), one.patch, one.output, error=one.error, at=event.at, seq=event.seq,
        )
        for one in told
    ]  # fmt: skip


def checkpoint(state: RunState, body: StepEnded, event: Event, before: dict[str, Any]) -> Checkpoint:
    step, memo = state.steps[body.no], state.memo
    document = {**before, **body.patch} if body.patch else before
    facts = tuple(memo.facts) if isinstance(memo, Memo) else ()
    return Checkpoint(
        state.run, step.round, step.no, step.place, step.branch, state.node(step.no).name, body.outcome, document,
        body.patch, body.output, facts, tuple(body.moves), body.error, body.code, event.at, event.seq,
    )  # fmt: skip


def missing(run: str, place: int) -> Refused:
    return Refused(f"run {run} has no ended step {place}", code="missing-step", hint="`graph inspect` and GET …/steps tell which it has")


class Moment(msgspec.Struct, frozen=True):
    """A run when the step at a place had ended. `before` is the document without its patch, `seq` the last event of the whole log."""

    state: RunState
    no: int
    before: dict[str, Any]
    seq: int


KEPT_MOVES = (Drop, Merge)


async def moment(engine: Engine, source: RunState, place: int, *, decided: bool) -> Moment:
    """The run after the last end of a step at `place` that still counts; with `decided` what followed is folded too, else only what made
    its branches one way. What a fork took over happened in the run it was forked from. Raises `Refused` (`missing-step`, `pruned`)."""
    events = [event async for event in read_log(engine, source)]
    wanted = _last_end(source, events, place)
    if wanted < 0:
        fork = events[0].body.fork if type(events[0].body) is RunForked else None
        if fork is None or not any(place == (one.no if one.at < 0 else one.at) for one in fork.steps):
            raise missing(source.alias, place)
        past = await moment(engine, await find_run(engine, fork.source, source.scope), place, decided=decided)
        forget_others(past.state, {one.no for one in fork.steps})
        return msgspec.structs.replace(past, seq=events[-1].seq)
    state, before = fresh(source), dict[str, Any]()
    for index, event in enumerate(events):
        body = event.body
        if index == wanted and type(body) is StepEnded:
            before = dict(state.document)
            if not decided:
                body = msgspec.structs.replace(body, moves=joining(body.moves))
        fold(state, body, event.at)
        if index == wanted:
            no = body.no if isinstance(body, StepEnded) else body.fork.at_step
            return Moment(state, no, before or dict(state.document), events[-1].seq)
    raise missing(source.alias, place)


def forget_others(state: RunState, kept: Collection[int]) -> None:
    """Steps a fork did not take over have not ended in its past. In a graph of edges some may have, before one it took over did."""
    gone = [no for no, step in state.steps.items() if step.status == "done" and no not in kept]
    if gone and state.known.router.kind == "depends":
        state.known.router.rewind(state.known.plan, state.memo, gone)
        for no in gone:
            del state.steps[no]


def joining(moves: Sequence[MoveOn]) -> tuple[MoveOn, ...]:
    """Of what followed, what made branches one way."""
    joins = any(type(move) is Merge for move in moves)
    return tuple(move for move in moves if isinstance(move, KEPT_MOVES)) if joins else ()


def _last_end(source: RunState, events: Sequence[Event], place: int) -> int:
    """Where in the log the step at `place` ended for the last time and was not gone back behind; -1 = nowhere."""
    state, found, no = fresh(source), -1, -1
    for index, event in enumerate(events):
        body = event.body
        if type(body) is RunReopened and no in body.reset:
            found, no = -1, -1
        fold(state, body, event.at)
        if type(body) is RunForked:
            last = state.steps.get(body.fork.at_step)
            if last is not None and last.place == place and body.fork.memo is not None:
                found, no = index, last.no
        elif type(body) is StepEnded and state.steps[body.no].place == place and body.outcome != "cancelled":
            found, no = index, body.no
    return found
