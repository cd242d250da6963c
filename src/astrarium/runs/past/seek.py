"""One moment of a run, read without folding its log from the beginning: what it costs does not depend on how long the run is.

The row of a step tells when it ended, a few looks into the log tell where that time lies, and the last anchor before it tells how the run
stood there (`StepEnded.anchor`). A run of no more than some dozens of steps has none and is read from its beginning.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec

from ...errors import NotFound, Refused
from ...kernel.engine import Engine
from ...kernel.types import Event, Scope, Tombstone
from ..message import ForkRun, RunForked, RunReopened, StepEnded
from ..state import Definition, RunState, load_state
from .read import Checkpoint, checkpoint, checkpoints, fold, inherited, joining, missing, pruned

LOOKS = 16
"""Places of a log looked at together."""
NEAR = 128
"""Events read at once on the way back to an anchor: about as many as lie between two."""
MOST_BRANCHES = 1000


class Outline(NamedTuple):
    """What is known of a run without its state."""

    run: str
    scope: Scope
    alias: str
    round: int
    forked: bool
    known: Definition

    @property
    def stream(self) -> str:
        return f"run:{self.run}"


class Ended(NamedTuple):
    """The row of a step that has ended."""

    round: int
    no: int
    place: int
    branch: str
    inherited: int
    at: int
    outcome: str


async def outline(engine: Engine, run: str, scope: Scope) -> Outline:
    sql = "SELECT alias, round, forked_from, graph FROM runs WHERE id = ? AND workspace = ?"
    rows = await engine.store.read(sql, (run, scope.workspace))
    if not rows:
        raise NotFound(f"there is no run {run}")
    alias, round_no, forked_from, graph = rows[0]
    return Outline(run, scope, alias, round_no, bool(forked_from), (await engine.things.fetch([graph]))[graph])


# -- which step --------------------------------------------------------------------------------------------------------


async def first_from(engine: Engine, of: Outline, place: int) -> list[Ended]:
    """The steps at the first place from this one on where any ended that still count. A step's number is never below its place, and
    grows with it, so only what is wanted is looked at."""
    gone: dict[int, set[int]] | None = None
    for round_no in range(1, of.round + 1):
        sql = (
            "SELECT round, no, place, branch, inherited, ended_at, outcome FROM steps"
            " WHERE run = ? AND round = ? AND no >= ? AND place >= ? AND status = 'done' ORDER BY no LIMIT "
        )
        rows = await engine.store.read(sql + "1", (of.run, round_no, place, place))
        if not rows:
            continue
        first = Ended(*rows[0])
        if round_no < of.round:
            gone = gone if gone is not None else await superseded(engine, of)
            if any(first.no in reset for later, reset in gone.items() if later > round_no):
                continue
        found = [
            Ended(*row) for row in await engine.store.read(sql + str(MOST_BRANCHES), (of.run, round_no, first.no, first.place))
        ]
        return [one for one in found if one.place == first.place]
    return []


async def superseded(engine: Engine, of: Outline) -> dict[int, set[int]]:
    """The numbers of the steps that the beginning of each round went back behind."""
    sql = "SELECT seq FROM events WHERE stream = ? AND type = ? ORDER BY seq"
    found: dict[int, set[int]] = {}
    for (seq,) in await engine.store.read(sql, (of.stream, RunReopened.__name__)):
        for event in await engine.tail.read_stream(of.stream, seq - 1, 1):
            found[event.body.round] = set(event.body.reset)
    return found


# -- where in the log --------------------------------------------------------------------------------------------------


async def find_end(engine: Engine, of: Outline, step: Ended) -> int:
    """Where in the log the step ended; 0 = it is not told there. Raises `Refused` when the log was pruned."""
    seq = await _first_at(engine, of, step.at)
    while page := await engine.tail.read_stream(of.stream, seq - 1, NEAR):
        for event in page:
            if type(event.body) is Tombstone:
                raise pruned(of.alias)
            if event.at > step.at:
                return 0
            if type(event.body) is StepEnded and event.body.no == step.no:
                return event.seq
        seq = page[-1].seq + 1
    return 0


async def _first_at(engine: Engine, of: Outline, at: int) -> int:
    """The first event of this time or later, by halving as it were: a few at once."""
    ends = "SELECT (SELECT min(seq) FROM events WHERE stream = ?), (SELECT max(seq) FROM events WHERE stream = ?)"
    low, high = [seq or 1 for seq in (await engine.store.read(ends, (of.stream, of.stream)))[0]]
    while high - low > LOOKS:
        looks = sorted({low + (high - low) * part // LOOKS for part in range(1, LOOKS)})
        sql = f"SELECT seq, at FROM events WHERE stream = ? AND seq IN ({', '.join('?' * len(looks))}) ORDER BY seq"
        rows = await engine.store.read(sql, (of.stream, *looks))
        before, later = [seq for seq, when in rows if when < at], [seq for seq, when in rows if when >= at]
        low, high = (before[-1] if before else low), (later[0] if later else high)
    return int(low)


async def stand(engine: Engine, of: Outline, seq: int) -> tuple[RunState, list[Event]]:
    """The run as it stood at the last anchor up to `seq`, and the events from there to `seq`. Raises `Refused` when the log was
    pruned."""
    events: list[Event] = []
    end = seq
    while end > 0:
        begin = max(0, end - NEAR)
        page = await engine.tail.read_stream(of.stream, begin, end - begin)
        events = [*page, *events]
        for index in range(len(page) - 1, -1, -1):
            body = page[index].body
            if type(body) is StepEnded and body.anchor:
                return load_state(of.run, of.scope, bytes(body.anchor), of.known), events[index:]
        end = begin
    if any(type(event.body) is Tombstone for event in events):
        raise pruned(of.alias)
    return RunState(run=of.run, scope=of.scope, known=of.known), events


# -- what is asked -----------------------------------------------------------------------------------------------------


async def state_at(engine: Engine, run: str, scope: Scope, place: int, branch: str = "") -> Checkpoint:
    """The run at a place on its way, after the step there had ended; where branches were and none is named, after they had become one
    way. Raises `Refused` (`missing-step`, `pruned`)."""
    of = await outline(engine, run, scope)
    there = [one for one in await first_from(engine, of, place) if one.place == place]
    alone = [one for one in there if one.branch == branch]
    if not there or (branch and not alone):
        raise missing(of.alias, place)
    if there[0].inherited:
        return await _inherited_at(engine, of, place, branch)
    counted = alone or [one for one in there if one.outcome != "cancelled"] or there
    seq = max([await find_end(engine, of, one) for one in counted])
    if not seq:
        return _picked(await checkpoints(engine, run, scope), of.alias, place, branch)
    state, events = await stand(engine, of, seq)
    for event in events[:-1]:
        fold(state, event.body, event.at)
    last = events[-1]
    before, body = dict(state.document), last.body
    if not alone:
        body = msgspec.structs.replace(body, moves=joining(body.moves))
    fold(state, body, last.at)
    made = checkpoint(state, last.body, last, before)
    return made if alone else msgspec.structs.replace(made, branch="", state=state.document)


def _picked(found: Sequence[Checkpoint], run: str, place: int, branch: str) -> Checkpoint:
    """For a log whose times do not grow, as those of several servers may not."""
    there = [one for one in found if one.place == place and (one.branch == branch or not branch)]
    if not there:
        raise missing(run, place)
    return next((one for one in reversed(there) if one.branch == branch), there[-1])


async def _forked(engine: Engine, of: Outline) -> tuple[ForkRun, Event]:
    (event,) = await engine.tail.read_stream(of.stream, 0, 1)
    if type(event.body) is not RunForked:
        raise pruned(of.alias)
    return event.body.fork, event


async def _inherited_at(engine: Engine, of: Outline, place: int, branch: str) -> Checkpoint:
    """A step a fork took over: as the fork has it, or else as it was in the run it ended in."""
    fork, event = await _forked(engine, of)
    own = [one for one in inherited(of.run, of.known, fork, event) if one.place == place and one.branch == branch]
    if own:
        return own[0]
    try:
        found = await state_at(engine, fork.source, of.scope, place, branch)
    except (NotFound, Refused):
        raise missing(of.alias, place) from None
    return found


async def page(engine: Engine, run: str, scope: Scope, *, after: int = -1, limit: int = 100) -> list[Checkpoint]:
    """The checkpoints behind a place, in the order the steps ended; about `limit` of them: those of one place are not parted. Without
    what a later round went back behind. Raises `Refused` when the log was pruned."""
    of = await outline(engine, run, scope)
    if of.known.shape is None:  # places of a graph of edges are no way; what it has of steps is bounded by its file
        found = sorted(await checkpoints(engine, run, scope), key=lambda one: one.place)
        return [one for one in found if one.place > after][:limit]
    first = await first_from(engine, of, after + 1)
    found = []
    if first and first[0].inherited:
        found, behind = await _inherited_page(engine, of, after, limit)
        if behind < 0:
            return found
        first = await first_from(engine, of, behind + 1)
    if not first or len(found) >= limit:
        return found
    seqs = [seq for one in first if (seq := await find_end(engine, of, one))]
    after = first[0].place - 1
    async for one in _from(engine, of, min(seqs) if seqs else 1):
        if one.place <= after:
            continue
        if len(found) >= limit and one.place != found[-1].place:
            break
        found.append(one)
    return found


async def _inherited_page(engine: Engine, of: Outline, after: int, limit: int) -> tuple[list[Checkpoint], int]:
    """What the fork took over behind a place, and the last place that it did (-1 = there is more of it)."""
    fork, event = await _forked(engine, of)
    own = inherited(of.run, of.known, fork, event)
    kept = {one.no for one in fork.steps if one.no <= fork.at_step} - {one.no for one in own}
    try:
        known = await page(engine, fork.source, of.scope, after=after, limit=limit)
    except (NotFound, Refused):
        known = []
    found = [one for one in known if one.no in kept]
    if len(found) == len(known) >= limit:
        return found, -1
    return [*found, *own], own[-1].place


async def _from(engine: Engine, of: Outline, seq: int) -> AsyncIterator[Checkpoint]:
    """The ends of steps that count, from `seq` on."""
    gone = await superseded(engine, of) if of.round > 1 else {}
    state, events = await stand(engine, of, seq)
    while events:
        for event in events:
            body: Any = event.body
            if type(body) is Tombstone:
                raise pruned(of.alias)
            before = dict(state.document) if type(body) is StepEnded else {}
            fold(state, body, event.at)
            if event.seq >= seq and type(body) is StepEnded:
                round_no = state.steps[body.no].round
                if not any(body.no in reset for later, reset in gone.items() if later > round_no):
                    yield checkpoint(state, body, event, before)
        events = await engine.tail.read_stream(of.stream, events[-1].seq, NEAR)
