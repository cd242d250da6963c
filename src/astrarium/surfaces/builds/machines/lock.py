"""The life of a lock: a lease somebody has on a name in an environment, until it is released or its time is over.

`version` grows with every grant and renewal and never falls, so whoever guards a resource can tell a late owner by it. How many locks
are held in an environment at once is the slot `locks:<environment>`; its holds end by themselves when the leases do.

Stardag (Feb 2026): the owner may acquire again what it holds, and renew a lease that is over as long as nobody else took it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ....errors import Bug, Held, Refused, TooMuch
from ....kernel.machine import Machine, Move
from ....kernel.types import Effect, Facts, Needs, Row, Scope, SlotAsk, SlotFree, SlotGranted
from .row import LOCKS
from .state import TaskState
from .task import task_stream

NOT_OWNED = "Lock not found or not owned by caller"
SECOND = 1_000_000


def lock_stream(environment: str, name: str) -> str:
    return f"lock:{environment}/{name}"


def lock_slot(environment: str) -> str:
    """The slot all held locks of an environment hold."""
    return f"locks:{environment}"


# -- commands ---------------------------------------------------------------------------------------------------------


class AcquireLock(msgspec.Struct, frozen=True, tag=True):
    """Take the lock for `ttl_s` seconds. `most`: locks held in the environment at once (0 = no limit). `unless_done`: not when the task
    of this name is completed."""

    owner: str
    ttl_s: int
    most: int = 0
    unless_done: bool = True


class RenewLock(msgspec.Struct, frozen=True, tag=True):
    """Hold it for `ttl_s` seconds from now on."""

    owner: str
    ttl_s: int


class ReleaseLock(msgspec.Struct, frozen=True, tag=True):
    owner: str


# -- events -----------------------------------------------------------------------------------------------------------


class LockAcquired(msgspec.Struct, frozen=True, tag=True):
    """`until` in microseconds UTC; `most` as it was asked."""

    owner: str
    until: int
    version: int
    most: int = 0


class LockRenewed(msgspec.Struct, frozen=True, tag=True):
    until: int
    version: int


class LockReleased(msgspec.Struct, frozen=True, tag=True):
    owner: str


EVENTS = (LockAcquired, LockRenewed, LockReleased)


# -- state ------------------------------------------------------------------------------------------------------------


class Lock(msgspec.Struct, omit_defaults=True):
    """What is written out of a lock; without an `owner` it is free."""

    owner: str = ""
    acquired_at: int = 0
    until: int = 0
    version: int = 0
    most: int = 0


class LockState:
    __slots__ = ("environment", "kept", "name", "touched", "workspace")

    def __init__(self, stream: str, scope: Scope, kept: Lock | None = None) -> None:
        self.environment, _, self.name = stream.partition(":")[2].partition("/")
        self.workspace = scope.workspace
        self.kept = kept if kept is not None else Lock()
        self.touched = False


class LockMachine(Machine[LockState]):
    name = "lock"
    events = EVENTS
    tables = (LOCKS,)
    table = (
        Move("lock", ("free", "held"), (AcquireLock,), LockAcquired, ("held",)),
        Move("lock", ("held",), (RenewLock,), LockRenewed, ("held",)),
        Move("lock", ("held",), (ReleaseLock,), LockReleased, ("free",)),
    )

    def new(self, stream: str, scope: Scope) -> LockState:
        return LockState(stream, scope)

    def needs(self, state: LockState, command: Any) -> Needs:
        slot = (lock_slot(state.environment),)
        if isinstance(command, AcquireLock):
            return Needs((task_stream(state.environment, state.name),) if command.unless_done else (), slot)
        return Needs(at_hand=slot)

    def decide(self, state: LockState, command: Any, facts: Facts) -> list[Any]:
        kept = state.kept
        if isinstance(command, SlotGranted):
            return []
        if isinstance(command, AcquireLock):
            return _acquire(state, command, facts)
        if not kept.owner or kept.owner != command.owner:
            raise Refused(NOT_OWNED, code="not_owned")
        if isinstance(command, RenewLock):
            return [LockRenewed(facts.now + command.ttl_s * SECOND, kept.version + 1)]
        if isinstance(command, ReleaseLock):
            return [LockReleased(command.owner)]
        raise Bug(f"a lock knows no {type(command).__name__}")

    def status(self, state: LockState, event: Any) -> str:
        return "held" if state.kept.owner else "free"

    def evolve(self, state: LockState, event: Any, at: int) -> None:
        kept = state.kept
        state.touched = True
        if isinstance(event, LockAcquired):
            kept.owner, kept.acquired_at, kept.until, kept.version, kept.most = (
                event.owner,
                at,
                event.until,
                event.version,
                event.most,
            )
        elif isinstance(event, LockRenewed):
            kept.until, kept.version = event.until, event.version
        else:
            kept.owner, kept.until = "", 0

    def react(self, state: LockState, event: Any, at: int) -> Iterable[Effect]:
        """A hold is given back and taken anew when its end moves. What was decided has its place, whoever came in between."""
        slot, kept = lock_slot(state.environment), state.kept
        if isinstance(event, LockReleased):
            return (SlotFree(slot),)
        over = isinstance(event, LockRenewed)
        return (SlotFree(slot), SlotAsk(slot, kept.most, until=event.until, over=over))

    def rows(self, state: LockState) -> Iterable[Row]:
        if not state.touched:
            return ()
        state.touched = False
        return ((LOCKS, lock_row(state)),)

    def dump(self, state: LockState) -> bytes:
        return msgspec.json.encode(state.kept)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> LockState:
        return LockState(stream, scope, msgspec.json.decode(data, type=Lock))

    def ended(self, state: LockState) -> bool:
        return not state.kept.owner


def _acquire(state: LockState, command: AcquireLock, facts: Facts) -> list[Any]:
    """In Stardag's order: is the task done, is there room, is it free."""
    kept, mine = state.kept, state.kept.owner == command.owner
    task: TaskState | None = facts.streams.get(task_stream(state.environment, state.name))
    if command.unless_done and task is not None and task.kept.status == "completed":
        raise Refused("the task is completed already", code="already_completed")
    held = facts.slots[lock_slot(state.environment)].holders
    if command.most and not mine and len(held) >= command.most:
        told = f"Environment concurrency limit reached ({command.most})"
        raise TooMuch(told, code="concurrency_limit_reached")
    if kept.owner and not mine and kept.until > facts.now:
        raise Held("Lock is held by another owner", code="held_by_other")
    return [LockAcquired(command.owner, facts.now + command.ttl_s * SECOND, kept.version + 1, command.most)]


def lock_row(state: LockState) -> tuple[Any, ...]:
    kept = state.kept
    return (state.environment, state.name, state.workspace, kept.owner, kept.acquired_at, kept.until, kept.version)
