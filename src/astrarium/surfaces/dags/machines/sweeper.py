"""The life that sweeps a workspace's old runs away: it is due every hour, and remembers what was removed until its files are gone too.

Its job has a date and no owner, so of several servers one carries it out, and after a crash another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ....kernel.machine import Machine, Move
from ....kernel.types import Effect, Facts, Job, Scope

EVERY_S = 3600
ENDLESS = ("schedule", "sweeper")
"""Machines whose lives go on for ever: their past goes when runs would, or after `PAST_DAYS` where the settings name no days."""
PAST_DAYS = 30
MICROSECONDS = 1_000_000


def sweeper_of(workspace: str) -> str:
    """The stream of a workspace's sweeper."""
    return f"sweeper:{workspace}"


class StartSweeping(msgspec.Struct, frozen=True, tag=True):
    """Begin to sweep every hour, the first time at once. Said by every server that starts; only the first one is heard."""


class EndSweep(msgspec.Struct, frozen=True, tag=True):
    """A sweep is over; the next one comes in an hour."""

    removed: int


class NoteRemoved(msgspec.Struct, frozen=True, tag=True):
    """These runs (id, time of creation) leave the store with this transaction; what lies below them, and their files, is owed."""

    runs: tuple[tuple[str, int], ...]


class SweepingStarted(msgspec.Struct, frozen=True, tag=True):
    due: int


class SweepEnded(msgspec.Struct, frozen=True, tag=True):
    removed: int
    due: int


class RunsRemoved(msgspec.Struct, frozen=True, tag=True):
    number: int
    runs: tuple[tuple[str, int], ...]


class Sweeper(msgspec.Struct):
    """`batches` counts removals, `due` is the date of the next sweep."""

    stream: str
    started: bool = False
    batches: int = 0
    due: int = 0


class SweeperMachine(Machine[Sweeper]):
    """It never ends."""

    name = "sweeper"
    events = (SweepingStarted, SweepEnded, RunsRemoved)
    table = (
        Move("sweeper", ("new",), (StartSweeping,), SweepingStarted, ("started",)),
        Move("sweeper", ("started",), (EndSweep,), SweepEnded, ("started",)),
        Move("sweeper", ("new",), (NoteRemoved,), RunsRemoved, ("new",)),
        Move("sweeper", ("started",), (NoteRemoved,), RunsRemoved, ("started",)),
    )

    def new(self, stream: str, scope: Scope) -> Sweeper:
        return Sweeper(stream)

    def decide(self, state: Sweeper, command: Any, facts: Facts) -> list[Any]:
        if isinstance(command, NoteRemoved):
            return [RunsRemoved(state.batches + 1, command.runs)]
        if isinstance(command, EndSweep):
            return [SweepEnded(command.removed, facts.now + EVERY_S * MICROSECONDS)] if state.started else []
        return [] if state.started else [SweepingStarted(facts.now)]

    def status(self, state: Sweeper, event: Any) -> str:
        return "started" if state.started else "new"

    def evolve(self, state: Sweeper, event: Any, at: int) -> None:
        if isinstance(event, RunsRemoved):
            state.batches = event.number
        else:
            state.started, state.due = True, event.due

    def react(self, state: Sweeper, event: Any, at: int) -> Iterable[Effect]:
        if isinstance(event, RunsRemoved):
            body = {"runs": [list(run) for run in event.runs]}
            return [Job(f"{state.stream}/removed/{event.number}", "remove_rest", state.stream, body)]
        return [Job(f"{state.stream}/sweep", "sweep", state.stream, {}, event.due)]

    def dump(self, state: Sweeper) -> bytes:
        return msgspec.json.encode(state)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> Sweeper:
        return msgspec.json.decode(data, type=Sweeper)
