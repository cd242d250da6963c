"""Entries: the second kind of truth. A named row that people edit; each change makes a new version and appends an act to the
audit log, in one transaction.

All kinds of entries (users, keys, webhooks …) are one machine: the stream is `entry:<kind>/<id>`, the name is unique within workspace
and kind by a slot, and `expect` refuses a change that rests on an older version. What a secret is compared with (`verifier`) and found
by (`handle`) stand apart from the body, so that no reader shows them by accident; a secret itself is never part of an entry.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ...errors import Conflict, NotFound, Refused
from ..audit import act
from ..engine import Engine
from ..machine import Machine, Move
from ..ports import Store
from ..types import ENGINE, Actor, Command, Effect, Facts, Needs, Row, Scope, SlotAsk, SlotFree, SlotGranted, table

ENTRIES = table(
    "entries",
    "workspace kind id",
    "workspace kind id name version:int body:json handle verifier created_at:int created_by updated_at:int updated_by used_at:int"
    " dropped_at:int",
)
_COLUMNS = ", ".join(column.name for column in ENTRIES.columns)
REMOVED_AT_ONCE = 200
log = logging.getLogger("astrarium.kernel")


class Entry(msgspec.Struct):
    """A row of `entries`. Times are microseconds UTC, 0 = never; `created_by` and `updated_by` are actors."""

    workspace: str
    kind: str
    id: str
    name: str = ""
    version: int = 0
    body: dict[str, Any] = {}
    handle: str = ""
    verifier: str = ""
    created_at: int = 0
    created_by: str = ""
    updated_at: int = 0
    updated_by: str = ""
    used_at: int = 0
    dropped_at: int = 0


class PutEntry(msgspec.Struct, frozen=True, tag=True):
    """Make the entry, or its next version. An empty `name` is nobody's; `handle` and `verifier` stay as they are when None.
    `expect` is the version the change rests on: 0 = there is none yet, None = whatever is there."""

    name: str
    body: dict[str, Any]
    by: str
    handle: str | None = None
    verifier: str | None = None
    expect: int | None = None


class DropEntry(msgspec.Struct, frozen=True, tag=True):
    """End the entry; its name is free again."""

    by: str
    expect: int | None = None


class TouchEntry(msgspec.Struct, frozen=True, tag=True):
    """The entry was used. No new version and no act."""


class EntryPut(msgspec.Struct, frozen=True, tag=True):
    version: int
    name: str
    body: dict[str, Any]
    handle: str
    verifier: str
    by: str
    was: str = ""
    """The name before."""


class EntryDropped(msgspec.Struct, frozen=True, tag=True):
    version: int
    by: str


class EntryTouched(msgspec.Struct, frozen=True, tag=True):
    pass


class EntryState:
    """An entry while it lives in memory."""

    __slots__ = ("changed", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.changed = False


def entry_stream(kind: str, id_: str) -> str:
    return f"entry:{kind}/{id_}"


def kind_and_id(stream: str) -> tuple[str, str]:
    kind, _, id_ = stream.partition(":")[2].partition("/")
    return kind, id_


def name_slot(kind: str, name: str) -> str:
    return f"entry/{kind}/{name}"


class EntryMachine(Machine[EntryState]):
    """An entry absorbs every order once it was dropped."""

    name = "entry"
    events = (EntryPut, EntryDropped, EntryTouched)
    tables = (ENTRIES,)
    table = (
        Move("entry", ("new", "live"), (PutEntry,), EntryPut, ("live",)),
        Move("entry", ("live",), (DropEntry,), EntryDropped, ("gone",)),
        Move("entry", ("live",), (TouchEntry,), EntryTouched, ("live",)),
    )

    def new(self, stream: str, scope: Scope) -> EntryState:
        return EntryState(Entry(scope.workspace, *kind_and_id(stream)))

    def needs(self, state: EntryState, command: Any) -> Needs:
        entry = state.entry
        held = (name_slot(entry.kind, entry.name),) if entry.name else ()
        if isinstance(command, PutEntry) and command.name != entry.name:
            return Needs(slots=(name_slot(entry.kind, command.name),) if command.name else (), at_hand=held)
        return Needs(at_hand=held)

    def decide(self, state: EntryState, command: Any, facts: Facts) -> list[Any]:
        if isinstance(command, SlotGranted):
            return []
        entry = state.entry
        if entry.dropped_at or (not entry.version and not isinstance(command, PutEntry)):
            raise NotFound(f"there is no {entry.kind} {entry.id}")
        if isinstance(command, TouchEntry):
            return [EntryTouched()]
        check_version(entry, command.expect)
        if isinstance(command, DropEntry):
            return [EntryDropped(entry.version + 1, command.by)]
        if command.name and command.name != entry.name and facts.slots[name_slot(entry.kind, command.name)].holders:
            raise Refused(
                f"there is a {entry.kind} named {command.name!r} already", code="already_exists", hint="choose another name"
            )
        handle = entry.handle if command.handle is None else command.handle
        verifier = entry.verifier if command.verifier is None else command.verifier
        return [EntryPut(entry.version + 1, command.name, command.body, handle, verifier, command.by, entry.name)]

    def status(self, state: EntryState, event: Any) -> str:
        return "gone" if state.entry.dropped_at else "live" if state.entry.version else "new"

    def evolve(self, state: EntryState, event: Any, at: int) -> None:
        entry = state.entry
        state.changed = True
        if isinstance(event, EntryTouched):
            entry.used_at = at
            return
        entry.version, entry.updated_at, entry.updated_by = event.version, at, event.by
        if isinstance(event, EntryDropped):
            entry.dropped_at, entry.handle, entry.verifier = at, "", ""
            return
        if event.version == 1:
            entry.created_at, entry.created_by = at, event.by
        entry.body, entry.handle, entry.verifier = event.body, event.handle, event.verifier
        entry.name = event.name

    def react(self, state: EntryState, event: Any, at: int) -> Iterable[Effect]:
        kind = state.entry.kind
        if isinstance(event, EntryPut) and event.name != event.was:
            if event.name:
                yield SlotAsk(name_slot(kind, event.name))
            if event.was:
                yield SlotFree(name_slot(kind, event.was))
        elif isinstance(event, EntryDropped) and state.entry.name:
            yield SlotFree(name_slot(kind, state.entry.name))

    def rows(self, state: EntryState) -> Iterable[Row]:
        if not state.changed:
            return ()
        state.changed = False
        return ((ENTRIES, entry_row(state.entry)),)

    def ended(self, state: EntryState) -> bool:
        return state.entry.dropped_at > 0

    def dump(self, state: EntryState) -> bytes:
        return msgspec.json.encode(state.entry)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> EntryState:
        return EntryState(msgspec.json.decode(data, type=Entry))


def check_version(entry: Entry, expect: int | None) -> None:
    """Raises `Conflict` where an entry is not at the version somebody expects; None = any."""
    if expect is None or expect == entry.version:
        return
    if expect == 0:
        raise Refused(f"there is a {entry.kind} {entry.id} already", code="already_exists")
    if not entry.version:
        raise NotFound(f"there is no {entry.kind} {entry.id}")
    raise Conflict(
        f"{entry.kind} {entry.name or entry.id!r} is at version {entry.version}, not at {expect}", hint="read it again and repeat"
    )


def entry_row(entry: Entry) -> tuple[Any, ...]:
    body = msgspec.json.encode(entry.body).decode()
    return (
        entry.workspace, entry.kind, entry.id, entry.name, entry.version, body, entry.handle, entry.verifier, entry.created_at,
        entry.created_by, entry.updated_at, entry.updated_by, entry.used_at, entry.dropped_at,
    )  # fmt: skip


def _entry(row: tuple[Any, ...]) -> Entry:
    made = Entry(*row)
    made.body = msgspec.json.decode(row[5])
    return made


# -- reading -----------------------------------------------------------------------------------------------------------


async def _select(store: Store, where: str, *args: Any, dropped: bool = False) -> list[Entry]:
    live = "" if dropped else " AND dropped_at = 0"
    rows = await store.read(f"SELECT {_COLUMNS} FROM entries WHERE {where}{live}", args)
    return [_entry(row) for row in rows]


async def read_entry(store: Store, workspace: str, kind: str, id_: str) -> Entry | None:
    """An entry by its id; None when there is none (any more)."""
    found = await _select(store, "workspace = ? AND kind = ? AND id = ?", workspace, kind, id_)
    return found[0] if found else None


async def find_entry(store: Store, workspace: str, kind: str, name: str) -> Entry | None:
    """An entry by its name."""
    found = await _select(store, "workspace = ? AND kind = ? AND name = ?", workspace, kind, name)
    return found[0] if found else None


async def find_handle(store: Store, kind: str, handle: str) -> list[Entry]:
    """Entries of any workspace by what they are found by."""
    return await _select(store, "kind = ? AND handle = ?", kind, handle)


async def list_entries(store: Store, workspace: str, kind: str, *, dropped: bool = False) -> list[Entry]:
    """All entries of a kind, by name; those that were dropped too, when asked for."""
    found = await _select(store, "workspace = ? AND kind = ?", workspace, kind, dropped=dropped)
    return sorted(found, key=lambda entry: (entry.name, entry.id))


# -- changing ----------------------------------------------------------------------------------------------------------


async def put_entry(
    engine: Engine, scope: Scope, actor: Actor, kind: str, id_: str, order: PutEntry, what: str, **detail: Any
) -> Entry:
    """Make or change an entry, and record the act `what` with it; `detail` must be free of secrets. Raises `Refused`
    (`already_exists`), `Conflict`, `NotFound`."""
    stream = entry_stream(kind, id_)
    commands = (Command(stream, order, scope, actor), act(scope, actor, what, f"{kind}:{id_}", **detail))
    receipts = await engine.submit_all(commands)
    return await _as_committed(engine, scope, stream, receipts[0].events[0])


async def _as_committed(engine: Engine, scope: Scope, stream: str, event: EntryPut) -> Entry:
    """The entry as this change left it; whoever changed it again meanwhile is answered by their own call."""
    state = await engine.state(stream, scope)
    kind, id_ = kind_and_id(stream)
    known = state.entry if state is not None else Entry(scope.workspace, kind, id_)
    return msgspec.structs.replace(
        known, name=event.name, version=event.version, body=event.body, handle=event.handle, verifier=event.verifier
    )


async def drop_entry(
    engine: Engine, scope: Scope, actor: Actor, kind: str, id_: str, order: DropEntry, what: str, **detail: Any
) -> None:
    """End an entry, and record the act `what` with it. Raises `NotFound`, `Conflict`."""
    stream = entry_stream(kind, id_)
    await engine.submit_all((Command(stream, order, scope, actor), act(scope, actor, what, f"{kind}:{id_}", **detail)))


async def remove_entries(engine: Engine, scope: Scope, kind: str, is_over: Callable[[Entry], bool]) -> int:
    """Take the entries of a kind that are over, and those that were dropped, out of the store whole; how many went. What moves
    meanwhile stays until the next time."""
    removed, place = 0, ""
    page = f"workspace = ? AND kind = ? AND id > ? ORDER BY id LIMIT {REMOVED_AT_ONCE}"
    while found := await _select(engine.store, page, scope.workspace, kind, place, dropped=True):
        place = found[-1].id
        gone = {entry_stream(kind, entry.id): entry for entry in found if entry.dropped_at or is_over(entry)}
        drops = [
            Command(stream, DropEntry(str(ENGINE), entry.version), scope)
            for stream, entry in gone.items()
            if not entry.dropped_at
        ]
        rows = [(entry.workspace, kind, entry.id) for entry in gone.values()]
        try:
            if drops:
                await engine.submit_all(drops)
            if gone:
                await engine.remove(list(gone), scope, {ENTRIES: rows}, ())
            removed += len(gone)
        except (Conflict, NotFound, Refused) as error:
            log.info("%d entries of %s stay for now: %s", len(gone), kind, error)
    return removed
