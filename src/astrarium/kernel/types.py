"""The kernel's nouns. Nothing else crosses a floor.

A *stream* is one life: the text `<machine>:<id>`. Times are microseconds since 1970 UTC. Sequence numbers of a stream and
positions in a workspace's log start at 1 and have no gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec


class Scope(msgspec.Struct, frozen=True):
    """Where something lives: everything is in exactly one workspace, work lands in one of its environments."""

    workspace: str
    environment: str


class Actor(msgspec.Struct, frozen=True):
    """Who acted: `kind` is user, key, worker, schedule, machine …"""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}" if self.id else self.kind


ENGINE = Actor("engine", "")


class Command(msgspec.Struct, frozen=True):
    """An order to one life. `key` makes it idempotent: the same key and body are answered with the first receipt.
    `expect` is the sequence number the caller saw; a moved stream is then a `Conflict`. `job` is the job this reports the result
    of: it is no longer owed, in the same transaction, unless the life asks for it anew; `lease` = it is being claimed, and the life's state
    is its record from now on."""

    stream: str
    body: Any
    scope: Scope
    actor: Actor = ENGINE
    key: str = ""
    expect: int | None = None
    job: str = ""
    lease: bool = False


class Event(msgspec.Struct, frozen=True):
    """Something that happened, as the log keeps it."""

    position: int
    workspace: str
    stream: str
    seq: int
    at: int
    actor: str
    body: Any
    v: int = 1


class Tombstone(msgspec.Struct, frozen=True, tag=True):
    """Stands in the log for `count` pruned events; `digest` is the SHA-256 over their bodies in order."""

    count: int
    digest: str


class Receipt(msgspec.Struct, frozen=True):
    """The durable answer to a command. `replayed` = the key was used before and nothing new happened."""

    stream: str
    seq: int
    events: tuple[Any, ...] = ()
    replayed: bool = False


class Job(msgspec.Struct, frozen=True):
    """Work owed by a life. `id` is chosen by the machine and stable: putting it again replaces it. A job without `not_before`
    is claimed at birth when the process has a free place; `body` is what its kind needs to know."""

    id: str
    kind: str
    stream: str
    body: dict[str, Any] = {}
    not_before: int = 0
    priority: int = 0
    attempt: int = 0


class JobDone(msgspec.Struct, frozen=True):
    """The job is no longer owed."""

    id: str


class SlotAsk(msgspec.Struct, frozen=True):
    """Take one of `limit` places (0 = no limit) of the slot, or wait in line by (priority, time). Granted at once or later, the
    asking stream receives the command `SlotGranted`. `until` (0 = none) ends the hold by itself. The limit holds from now on for all
    in the slot; an ask that goes `over` it takes a place in any case, and changes the limit of nobody else. `since`: who left the slot
    comes back, stands in line as if it had asked then, and changes the limit of nobody either."""

    name: str
    limit: int = 1
    priority: int = 0
    until: int = 0
    over: bool = False
    since: int = 0


class SlotFree(msgspec.Struct, frozen=True):
    """Give the place (or the waiting place) back."""

    name: str


class Count(msgspec.Struct, frozen=True):
    """Add to a counter, in the transaction of the event: what happened `subject` (whose) with which `mark` (how). Counters outlive
    what they counted."""

    name: str
    subject: str
    mark: str
    amount: int = 1


class Drop(msgspec.Struct, frozen=True):
    """A row that is no more, by its key (a plain value, or a tuple of several). A machine that put it in the same batch takes it out
    of its `rows` itself."""

    of: Table
    key: Any


class Then(msgspec.Struct, frozen=True):
    """An order to the same life, decided in the same transaction when all that was decided before is folded. One that is refused, or
    gives nothing, leaves no trace."""

    body: Any


class SlotGranted(msgspec.Struct, frozen=True, tag=True):
    """The command a stream receives when its `SlotAsk` is granted. `fence` grows with every grant of that slot."""

    name: str
    fence: int


Effect = Job | JobDone | SlotAsk | SlotFree | Count | Drop | Then


class SlotView(msgspec.Struct, frozen=True):
    """What a machine may know of a slot when it decides."""

    holders: Collection[str] = ()
    waiting: int = 0
    fence: int = 0

    def room(self, limit: int) -> bool:
        return limit <= 0 or (len(self.holders) < limit and not self.waiting)


class Needs(msgspec.Struct, frozen=True):
    """What a decision depends on besides its own state: all of it is loaded before and verified in the same transaction.
    `at_hand`: slots its effects may take or give back, though it does not look at them."""

    streams: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    things: tuple[str, ...] = ()
    at_hand: tuple[str, ...] = ()


NOTHING_NEEDED = Needs()


class Facts(msgspec.Struct, frozen=True):
    """The world as handed to a decision: the time (microseconds) and what it needed."""

    now: int
    streams: Mapping[str, Any] = {}
    slots: Mapping[str, SlotView] = {}
    things: Mapping[str, Any] = {}


class Column(msgspec.Struct, frozen=True):
    """`kind` is text, int, real, json (stored as text) or bytes. `adds`: putting a row adds its value to the one that is there."""

    name: str
    kind: str = "text"
    adds: bool = False


class Table(msgspec.Struct, frozen=True, eq=False):
    """A row table: readers query it, only the engine writes it. `key` columns come first in `columns`. Compared by identity.
    `adds`: it counts; putting a row adds the columns that add, and leaves the others as they were first put. `has_bytes`: of the
    columns, too."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    adds: bool = False
    has_bytes: bool = False


def table(name: str, key: str, columns: str) -> Table:
    """`table("jobs", "id", "id kind at:int body:json")`: columns separated by blanks, `name:kind`, text when no kind is given;
    `name:kind+` adds up."""
    parts = ((*part.rstrip("+").partition(":"), part.endswith("+")) for part in columns.split())
    made = tuple(Column(name, kind or "text", adds) for name, _, kind, adds in parts)
    adds, has_bytes = any(column.adds for column in made), any(column.kind == "bytes" for column in made)
    return Table(name, tuple(key.split()), made, adds, has_bytes)


Row = tuple[Table, tuple[Any, ...]]
"""A whole row to be put: values in the order of the table's columns."""

Done = Callable[[Receipt | None, Exception | None], None]
"""Called once with the receipt, or with the error."""
