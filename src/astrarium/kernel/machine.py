"""The form of a life: a table of rows plus pure functions; and the registry of all that the engine knows.

The table says what may happen at all: *while* the subject is in this status, *asked to* do this, it may *give* that event and
*become* one of these. The engine checks every event against it; a move without a row is a `Bug`, so no status rule can hide
in code. `decide` may refuse, `evolve` may not, `react` may only ask for jobs and slots.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from ..errors import Bug
from .ports import KERNEL_TABLES
from .types import NOTHING_NEEDED, Effect, Facts, Job, Needs, Row, Scope, Table, Tombstone

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

    def rests(self, state: S) -> bool:
        """Whether nothing is carried out for the life, and only an order from outside or a date will move it, perhaps in weeks: it
        leaves memory until then."""
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


class JobKind(Protocol):
    """How one kind of job is carried out. `claim` is the command applied in the transaction that claims the job, `lose` the one
    for a job whose owner died; None = nothing to be told. `carry_out` returns the command body that reports the result (None = the job
    is just done), at once or as an awaitable."""

    name: str
    leased: bool
    """A claimed job of this kind has no row of its own: the life's state says that it runs and where, and one lease per life and
    worker leads there after a crash. For kinds that are claimed for every step."""

    def place(self, job: Job) -> str:
        """Which of the worker's limited places it occupies; empty = none."""

    def claim(self, job: Job) -> Any | None: ...

    def lose(self, job: Job, begun: bool) -> Any | None: ...

    def carry_out(self, job: Job) -> Any | Awaitable[Any]: ...

    def broke(self, job: Job, error: Exception) -> Any | None:
        """The command that reports an exception out of `carry_out`."""


Listener = Callable[[str, Any], None]
"""Told (stream, event body) after the commit."""


class Known:
    """A machine with what the engine derives from it once."""

    __slots__ = ("decoder", "machine", "moves", "versions")

    def __init__(self, machine: Machine[Any]) -> None:
        self.machine = machine
        self.moves = index_moves(machine.table)
        union: Any = Tombstone
        for event in machine.events:
            union = union | event
        self.decoder = msgspec.json.Decoder(union)
        self.versions = dict(machine.versions)

    def decode(self, type_name: str, v: int, body: bytes) -> Any:
        if v != self.versions.get(type_name, 1):
            body = self.machine.upcast(type_name, v, body)
        return self.decoder.decode(body)


class Registry:
    def __init__(self) -> None:
        self.machines: dict[str, Known] = {}
        self.kinds: dict[str, JobKind] = {}
        self.things: dict[str, Callable[[bytes], Any]] = {}
        self.tables: list[Table] = list(KERNEL_TABLES)
        self.listeners: dict[type, list[Listener]] = {}

    def add_machine(self, machine: Machine[Any]) -> None:
        if machine.name in self.machines:
            raise Bug(f"machine {machine.name} is registered twice")
        self.machines[machine.name] = Known(machine)
        self.tables.extend(made for made in machine.tables if made not in self.tables)

    def add_kind(self, kind: JobKind) -> None:
        if kind.name in self.kinds:
            raise Bug(f"job kind {kind.name} is registered twice")
        self.kinds[kind.name] = kind

    def add_thing(self, kind: str, decode: Callable[[bytes], Any]) -> None:
        """How a thing of this kind is turned into what machines see."""
        self.things[kind] = decode

    def listen(self, event: type, listener: Listener) -> None:
        self.listeners.setdefault(event, []).append(listener)

    def of(self, stream: str) -> Known:
        known = self.machines.get(stream.partition(":")[0])
        if known is None:
            raise Bug(f"no machine for stream {stream}")
        return known
