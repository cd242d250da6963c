"""The form of a life: a table of rows plus pure functions.

The table says what may happen at all: *while* the subject is in this status, *asked to* do this, it may *give* that event and
*become* one of these. The engine checks every event against it; a move without a row is a `Bug`, so no status rule can hide
in code. `decide` may refuse, `evolve` may not, `react` may only ask for jobs and slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from .types import NOTHING_NEEDED, Effect, Facts, Job, Needs, Row, Scope, Table

S = TypeVar("S")


class Move(msgspec.Struct, frozen=True):
    """One row of a machine's table. `subject` names what has the status (the life itself, or a part of it)."""

    subject: str
    while_: tuple[str, ...]
    asked: tuple[type, ...]
    gives: type
    becomes: tuple[str, ...]


class Machine(Generic[S]):
    """What a kind of life is. Subclasses are stateless; all state is in `S`, which `evolve` changes in place."""

    name: ClassVar[str]
    events: ClassVar[tuple[type, ...]]
    table: ClassVar[tuple[Move, ...]]
    creates: ClassVar[tuple[type, ...]] = ()
    """Commands that open a life under an id made for it, which nobody else can have."""
    tables: ClassVar[tuple[Table, ...]] = ()
    versions: ClassVar[Mapping[str, int]] = {}
    """Event type name → version written now, where it is not 1; older ones pass through `upcast` when read."""

    def new(self, stream: str, scope: Scope) -> S:
        """The state before the first event."""
        raise NotImplementedError

    def references(self, events: Sequence[Any]) -> tuple[str, ...]:
        """Hashes of the things these events refer to and `evolve` or `load` will want: resolved before the fold."""
        return ()

    def provide(self, state: S, things: Mapping[str, Any]) -> None:
        """Hand resolved things to a state before events are folded into it."""

    def needs(self, state: S, command: Any) -> Needs:
        """Facts `decide` wants for this command."""
        return NOTHING_NEEDED

    def decide(self, state: S, command: Any, facts: Facts) -> list[Any]:
        """Events to happen, or an error of the tree. No events = accepted, nothing to change (a stale or repeated report)."""
        raise NotImplementedError

    def status(self, state: S, event: Any) -> str:
        """The status of the event's subject, as the table names it."""
        raise NotImplementedError

    def evolve(self, state: S, event: Any, at: int) -> None:
        """Fold one event into the state, in place. Never fails, never looks outside."""
        raise NotImplementedError

    def react(self, state: S, event: Any, at: int) -> Iterable[Effect]:
        """Jobs and slots that follow from an event just folded."""
        return ()

    def rows(self, state: S) -> Iterable[Row]:
        """Whole rows of what changed since the last call, as readers shall see them. Asked once per commit; the state's own
        notes of what changed are cleared by it."""
        return ()

    def owed(self, state: S, worker: str) -> Iterable[Job]:
        """The jobs of leased kinds this worker was carrying out: the state is their only record (see `JobKind.leased`)."""
        return ()

    def dump(self, state: S) -> bytes:
        """The state as bytes, such that `load(dump(state))` folds on exactly like `state`."""
        raise NotImplementedError

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> S:
        raise NotImplementedError

    def dump_references(self, data: bytes) -> tuple[str, ...]:
        """Hashes of the things `load` will want for this dump."""
        return ()

    def snapshot_due(self, state: S, events_since: int, bytes_since: int, last_size: int) -> bool:
        """Whether the tail has grown enough for a snapshot. The tail must outgrow the last snapshot, so that the cost per event
        stays flat however large the state is."""
        return events_since >= 128 and bytes_since >= last_size

    def ended(self, state: S) -> bool:
        """Whether the life has ended (its stream may be pruned)."""
        return False

    def upcast(self, type_name: str, v: int, body: bytes) -> bytes:
        """Bring an event body written by an older version up to the present one."""
        return body


def index_moves(moves: Iterable[Move]) -> dict[tuple[str, type, type], frozenset[str]]:
    """(status, command type, event type) → statuses it may become."""
    index: dict[tuple[str, type, type], set[str]] = {}
    for move in moves:
        for status in move.while_:
            for asked in move.asked:
                index.setdefault((status, asked, move.gives), set()).update(move.becomes)
    return {key: frozenset(becomes) for key, becomes in index.items()}
