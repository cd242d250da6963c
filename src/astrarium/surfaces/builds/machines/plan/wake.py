"""Who schedules a build that is driven by ticks, and whether it wants one: a flag, a lease, and what ticks told.

The flag is set before anybody looks for a scheduler, and taken before a tick reads what there is to do: no wish is lost in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .....errors import Bug
from .....kernel.machine import Machine, Move
from .....kernel.types import Facts, Row, Scope
from .row import BUILD_WAKES, TICK_SUMMARIES

SECOND = 1_000_000
HANDED_S = 120
"""So long a build that was handed out is not handed out again."""


def wake_stream(build: str) -> str:
    return f"wake:{build}"


class AskForTick(msgspec.Struct, frozen=True, tag=True):
    pass


class TakeFlag(msgspec.Struct, frozen=True, tag=True):
    """A tick begins: what is wanted up to now it will see."""


class HandOut(msgspec.Struct, frozen=True, tag=True):
    """Give the build to somebody who starts ticks."""


class AcquireLease(msgspec.Struct, frozen=True, tag=True):
    """Schedule it for `ttl_s` seconds; not while another does."""

    owner: str
    ttl_s: int


class RenewLease(msgspec.Struct, frozen=True, tag=True):
    owner: str
    ttl_s: int


class ReleaseLease(msgspec.Struct, frozen=True, tag=True):
    owner: str


class TellTick(msgspec.Struct, frozen=True, tag=True):
    outcome: str
    summary: dict[str, Any]


class TickAsked(msgspec.Struct, frozen=True, tag=True):
    environment: str


class FlagTaken(msgspec.Struct, frozen=True, tag=True):
    pass


class HandedOut(msgspec.Struct, frozen=True, tag=True):
    pass


class LeaseHeld(msgspec.Struct, frozen=True, tag=True):
    environment: str
    owner: str
    until: int


class LeaseReleased(msgspec.Struct, frozen=True, tag=True):
    owner: str


class TickTold(msgspec.Struct, frozen=True, tag=True):
    environment: str
    outcome: str
    summary: dict[str, Any]


EVENTS = (TickAsked, FlagTaken, HandedOut, LeaseHeld, LeaseReleased, TickTold)


class Wake(msgspec.Struct, omit_defaults=True):
    environment: str = ""
    flagged_at: int = 0
    handed_at: int = 0
    owner: str = ""
    until: int = 0
    told: int = 0


class WakeState:
    __slots__ = ("build", "kept", "rows", "scope")

    def __init__(self, stream: str, scope: Scope, kept: Wake | None = None) -> None:
        self.build = stream.partition(":")[2]
        self.scope = scope
        self.kept = kept if kept is not None else Wake()
        self.rows: list[Row] = []

    def served(self, now: int) -> bool:
        """Whether somebody holds the lease."""
        return self.kept.owner != "" and self.kept.until > now


class WakeMachine(Machine[WakeState]):
    name = "wake"
    events = EVENTS
    tables = (BUILD_WAKES, TICK_SUMMARIES)
    table = (
        Move("wake", ("",), (AskForTick,), TickAsked, ("",)),
        Move("wake", ("",), (TakeFlag,), FlagTaken, ("",)),
        Move("wake", ("",), (HandOut,), HandedOut, ("",)),
        Move("wake", ("",), (AcquireLease, RenewLease), LeaseHeld, ("",)),
        Move("wake", ("",), (ReleaseLease,), LeaseReleased, ("",)),
        Move("wake", ("",), (TellTick,), TickTold, ("",)),
    )

    def new(self, stream: str, scope: Scope) -> WakeState:
        return WakeState(stream, scope)

    def decide(self, state: WakeState, command: Any, facts: Facts) -> list[Any]:
        """Nothing here is refused: who does not get a lease is told so (no event)."""
        kept, where = state.kept, state.scope.environment
        if isinstance(command, AskForTick):
            return [] if kept.flagged_at else [TickAsked(where)]
        if isinstance(command, TakeFlag):
            return [FlagTaken()] if kept.flagged_at else []
        if isinstance(command, HandOut):
            free = not state.served(facts.now) and kept.handed_at + HANDED_S * SECOND <= facts.now
            return [HandedOut()] if kept.flagged_at and free else []
        if isinstance(command, AcquireLease):
            if state.served(facts.now) and kept.owner != command.owner:
                return []
            return [LeaseHeld(where, command.owner, facts.now + command.ttl_s * SECOND)]
        if isinstance(command, RenewLease):
            mine = state.served(facts.now) and kept.owner == command.owner
            return [LeaseHeld(where, command.owner, facts.now + command.ttl_s * SECOND)] if mine else []
        if isinstance(command, ReleaseLease):
            return [LeaseReleased(command.owner)] if kept.owner == command.owner else []
        if isinstance(command, TellTick):
            return [TickTold(where, command.outcome, command.summary)]
        raise Bug(f"a wake knows no {type(command).__name__}")

    def status(self, state: WakeState, event: Any) -> str:
        return ""

    def evolve(self, state: WakeState, event: Any, at: int) -> None:
        kept = state.kept
        kept.environment = getattr(event, "environment", "") or kept.environment
        if isinstance(event, TickAsked):
            kept.flagged_at = at
        elif isinstance(event, FlagTaken):
            kept.flagged_at = kept.handed_at = 0
        elif isinstance(event, HandedOut):
            kept.handed_at = at
        elif isinstance(event, LeaseHeld):
            kept.owner, kept.until = event.owner, event.until
        elif isinstance(event, LeaseReleased):
            kept.owner, kept.until = "", 0
        else:
            kept.told += 1
            summary = msgspec.json.encode(event.summary)
            state.rows.append((TICK_SUMMARIES, (state.build, kept.told, at, event.outcome, summary)))
        state.rows.append((BUILD_WAKES, wake_row(state)))

    def rows(self, state: WakeState) -> Iterable[Row]:
        made, state.rows = state.rows, []
        return made

    def dump(self, state: WakeState) -> bytes:
        return msgspec.json.encode(state.kept)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> WakeState:
        return WakeState(stream, scope, msgspec.json.decode(data, type=Wake))


def wake_row(state: WakeState) -> tuple[Any, ...]:
    kept = state.kept
    return (state.build, kept.environment, kept.flagged_at, kept.handed_at, kept.owner, kept.until)
