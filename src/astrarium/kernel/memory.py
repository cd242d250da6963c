"""What the engine holds in memory: states of lives, slots, receipts. All of it can be read again from the store."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..errors import Conflict, NotFound, Refused
from .machine import Known, Machine, Registry
from .ports import NewEvent, Store
from .record.things import Things
from .slots import Slot, load_slot, slot_head
from .tail import Tail
from .types import Command, Event, Needs, Receipt, Scope, SlotView, Tombstone

RECEIPTS_KEPT = 4096
NOT_READ: Any = object()
LOAD_CHUNK = 200


class Hot:
    """A life in memory: its state, and how much of the log came since its last snapshot."""

    __slots__ = (
        "bytes_since", "events_since", "gone", "known", "last_size", "leased", "machine", "scope", "seq", "state", "stream",
    )  # fmt: skip

    def __init__(self, known: Known, stream: str, scope: Scope, state: Any) -> None:
        self.known = known
        self.machine: Machine[Any] = known.machine
        self.stream = stream
        self.scope = scope
        self.state = state
        self.seq = 0
        self.events_since = 0
        self.bytes_since = 0
        self.last_size = 0
        self.leased = False
        self.gone = False

    def snapshot_taken(self, size: int) -> None:
        self.events_since = self.bytes_since = 0
        self.last_size = size


class Memory:
    def __init__(self, store: Store, registry: Registry, things: Things, limit: int) -> None:
        self._store = store
        self._registry = registry
        self._things = things
        self._limit = limit
        self.hot: OrderedDict[str, Hot] = OrderedDict()
        self.slots: dict[tuple[str, str], Slot] = {}
        self._reading: dict[tuple[str, str], asyncio.Lock] = {}
        self._receipts: OrderedDict[tuple[str, str], tuple[str, Receipt] | None] = OrderedDict()
        self._seen: dict[str, int] = {}
        self._loads: dict[int, set[str]] = {}
        self.existing: set[str] = set()
        """Lives a commit found in the store although a command that creates them had been decided as if they were new."""

    # -- lives --------------------------------------------------------------------------------------------------------

    def peek(self, stream: str, command: Command) -> Hot | None:
        """A life at hand. A command that creates one brings an id nobody else has: its life is new without asking the store,
        unless its key was used before (or that is not known yet)."""
        hot = self.hot.get(stream)
        if hot is not None:
            if hot.scope.workspace != command.scope.workspace:
                raise not_found(stream)
            return hot
        known = self._registry.of(stream)
        unused = not command.key or self._receipts.get((command.scope.workspace, command.key), NOT_READ) is None
        if type(command.body) in known.machine.creates and stream not in self.existing and unused:
            hot = Hot(known, stream, command.scope, known.machine.new(stream, command.scope))
            self.hot[stream] = hot
            return hot
        return None

    async def load(self, stream: str, scope: Scope) -> Hot:
        """A life from memory or the store; one without events is new. `NotFound` for a life of another workspace."""
        hot = self.hot.get(stream)
        if hot is None:
            await self.load_many([stream], scope)
            hot = self.hot.get(stream)
        if hot is None or hot.gone or hot.scope.workspace != scope.workspace:
            raise not_found(stream)
        return hot

    async def load_many(self, streams: Sequence[str], scope: Scope) -> None:
        """Bring lives of one scope into memory with few reads."""
        wanted = [stream for stream in dict.fromkeys(streams) if stream not in self.hot]
        for start in range(0, len(wanted), LOAD_CHUNK):
            await self._load_chunk(wanted[start : start + LOAD_CHUNK], scope)

    async def _load_chunk(self, streams: list[str], scope: Scope) -> None:
        moved: set[str] = set()
        self._loads[id(moved)] = moved
        try:
            torn = await self._load_each(streams, scope, moved)
        finally:
            del self._loads[id(moved)]
        if torn:
            await self._load_chunk(torn, scope)

    async def _load_each(self, streams: list[str], scope: Scope, moved: set[str]) -> list[str]:
        """Load lives; returns those that changed (`moved`) while they were being read."""
        marks = ",".join("?" * len(streams))
        snapshots = await self._store.read(
            f"SELECT stream, seq, workspace, data FROM snapshots WHERE stream IN ({marks})", streams
        )
        since = {row[0]: row for row in snapshots}
        events = await self._store.read(
            "SELECT e.stream, e.seq, e.workspace, e.at, e.type, e.v, e.body FROM events e"
            " LEFT JOIN snapshots s ON s.stream = e.stream"
            f" WHERE e.stream IN ({marks}) AND e.seq > COALESCE(s.seq, 0) ORDER BY e.stream, e.seq",
            streams,
        )
        tails: dict[str, list[tuple[Any, ...]]] = {}
        for row in events:
            tails.setdefault(row[0], []).append(row)
        torn: list[str] = []
        for stream in streams:
            snapshot, tail = since.get(stream), tails.get(stream, ())
            if snapshot is None and tail and tail[0][4] == Tombstone.__name__:
                continue  # it was removed: nothing but its tombstone is left
            if tail and tail[0][1] != (snapshot[1] if snapshot else 0) + 1:
                torn.append(stream)  # another server took a snapshot between the two reads
                continue
            hot = await self._fold(stream, scope, snapshot, tail)
            if stream in moved and stream not in self.hot:
                torn.append(stream)
                continue
            self.hot.setdefault(stream, hot)
            self.existing.discard(stream)
        return torn

    async def _fold(
        self, stream: str, scope: Scope, snapshot: tuple[Any, ...] | None, tail: Sequence[tuple[Any, ...]]
    ) -> Hot:
        known = self._registry.of(stream)
        machine = known.machine
        owner = snapshot[2] if snapshot else tail[0][2] if tail else scope.workspace
        if owner != scope.workspace:
            raise not_found(stream)
        bodies = [(row, known.decode(row[4], row[5], as_bytes(row[6]))) for row in tail if row[4] != Tombstone.__name__]
        if snapshot:
            data = bytes(snapshot[3])
            things = await self._things.fetch(machine.dump_references(data))
            hot = Hot(known, stream, scope, machine.load(stream, scope, data, things))
            hot.seq, hot.last_size = snapshot[1], len(data)
        else:
            hot = Hot(known, stream, scope, machine.new(stream, scope))
        machine.provide(hot.state, await self._things.fetch(machine.references([body for _, body in bodies])))
        for row, body in bodies:
            machine.evolve(hot.state, body, row[3])
            hot.events_since += 1
            hot.bytes_since += len(row[6])
        list(machine.rows(hot.state))  # they are stored already
        if tail:
            hot.seq = tail[-1][1]
        return hot

    def evict(self, stream: str) -> None:
        self.hot.pop(stream, None)
        for moved in self._loads.values():
            moved.add(stream)

    def evict_all(self, heads: Iterable[str]) -> None:
        """Forget lives, slots and receipts by their heads."""
        for head in heads:
            kind, _, rest = head.partition(":")
            if kind == "slot":
                workspace, _, name = rest.partition("/")
                self.slots.pop((workspace, name), None)
            elif kind == "key":
                workspace, _, key = rest.partition("/")
                self._receipts.pop((workspace, key), None)
            else:
                self.hot.pop(head, None)

    def settle(self, written: set[str], filling: set[str], busy: Callable[[], set[str]]) -> None:
        """After a commit: let go of lives that ended or rest, and above the limit of the oldest that nobody works on now (`busy`)."""
        for moved in self._loads.values():
            moved |= written  # what is being read of these may be what was before
        for stream in written:
            if stream not in filling:
                hot = self.hot.get(stream)
                if hot is not None and (hot.machine.ended(hot.state) or hot.machine.rests(hot.state)):
                    del self.hot[stream]
        if len(self.hot) > self._limit:
            kept = filling | busy()
            spare = [stream for stream in self.hot if stream not in kept]
            for stream in spare[: len(self.hot) - self._limit // 2]:
                del self.hot[stream]
        if len(self.slots) > self._limit:
            for key, slot in list(self.slots.items())[: self._limit // 2]:
                if slot.head not in filling:
                    del self.slots[key]

    def remember(self, commands: Sequence[Command]) -> dict[str, tuple[Hot, bytes, int, Any] | None]:
        """States as they are, to be put back if one of several commands is refused. None = the life is new."""
        kept: dict[str, tuple[Hot, bytes, int, Any] | None] = {}
        for command in commands:
            hot = self.hot.get(command.stream)
            if hot is None or not hot.seq:
                kept[command.stream] = None
            else:
                data = hot.machine.dump(hot.state)
                sizes = (hot.events_since, hot.bytes_since, hot.last_size, hot.leased)
                kept[command.stream] = (hot, data, hot.seq, sizes)
        return kept

    def restore(self, kept: Mapping[str, tuple[Hot, bytes, int, Any] | None]) -> None:
        for stream, was in kept.items():
            if was is None:
                self.hot.pop(stream, None)
                continue
            hot, data, seq, sizes = was
            things = {key: self._things.get(key) for key in hot.machine.dump_references(data)}
            if None in things.values():
                self.hot.pop(stream, None)  # read again from the store, once what came before is committed
                continue
            hot.state = hot.machine.load(stream, hot.scope, data, things)
            hot.seq = seq
            hot.events_since, hot.bytes_since, hot.last_size, hot.leased = sizes
            self.hot[stream] = hot

    # -- facts --------------------------------------------------------------------------------------------------------

    def missing(self, needs: Needs, workspace: str) -> bool:
        """Whether a fact is not in memory yet."""
        for name in needs.at_hand:
            if (workspace, name) not in self.slots:
                return True
        for name in needs.slots:
            if (workspace, name) not in self.slots:
                return True
        for stream in needs.streams:
            if stream not in self.hot:
                return True
        return any(self._things.get(key) is None for key in needs.things) if needs.things else False

    def facts(
        self, needs: Needs, workspace: str, heads: dict[str, int]
    ) -> tuple[dict[str, Any], dict[str, SlotView], dict[str, Any]]:
        """The facts of a decision; the heads they rest on join those the commit verifies."""
        streams, slots, things = {}, {}, {}
        for stream in needs.streams:
            hot = self.hot[stream]
            heads.setdefault(stream, hot.seq)
            streams[stream] = hot.state if hot.seq else None
        for name in needs.slots:
            slot = self.slots[(workspace, name)]
            heads.setdefault(slot.head, slot.fence)
            slots[name] = slot.view()
        for key in needs.things:
            things[key] = self._things.get(key)
        return streams, slots, things

    def rests_on(self, command: Command) -> dict[str, int]:
        """The heads a decision about this command rests on, as far as they are in memory: its life's, those of other lives and of
        slots it looks at."""
        hot = self.hot.get(command.stream)
        machine = self._registry.of(command.stream).machine
        needs = machine.needs(hot.state if hot is not None else machine.new(command.stream, command.scope), command.body)
        lives = [self.hot[stream] for stream in (command.stream, *needs.streams) if stream in self.hot]
        slots = [self.slots.get((command.scope.workspace, name)) for name in needs.slots]
        return {life.stream: life.seq for life in lives} | {slot.head: slot.fence for slot in slots if slot is not None}

    async def fetch_for(self, command: Command, settled: Callable[[str], Awaitable[None]]) -> None:
        """Bring everything a command's decision needs into memory. A life with uncommitted changes that is not in memory was
        evicted because of an error: it is read after they are settled."""
        if command.key and not self.knows_key(command):
            await settled(f"key:{command.scope.workspace}/{command.key}")
            await self._fetch_receipt(command)
        if command.stream not in self.hot:
            await settled(command.stream)
        hot = self.peek(command.stream, command) or await self.load(command.stream, command.scope)
        needs = hot.machine.needs(hot.state, command.body)
        for stream in needs.streams:
            if stream not in self.hot:
                await settled(stream)
                await self.load(stream, command.scope)
        for name in (*needs.slots, *needs.at_hand):
            await self.fetch_slot(command.scope.workspace, name, settled)
        await self._things.fetch(needs.things)

    async def fetch_slot(self, workspace: str, name: str, settled: Callable[[str], Awaitable[None]]) -> None:
        """Bring a slot into memory, read once however many want it."""
        key = (workspace, name)
        if key in self.slots:
            return
        lock = self._reading.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if key not in self.slots:
                    await settled(slot_head(workspace, name))
                    self.slots[key] = await load_slot(self._store, workspace, name)
        finally:
            if not lock.locked():
                self._reading.pop(key, None)

    # -- receipts -----------------------------------------------------------------------------------------------------

    def knows_key(self, command: Command) -> bool:
        return (command.scope.workspace, command.key) in self._receipts

    def receipt(self, command: Command) -> Receipt | None:
        """The receipt of an earlier use of the key. `Conflict` if it was used for something else."""
        found = self._receipts.get((command.scope.workspace, command.key))
        if found is None:
            return None
        digest, receipt = found
        if digest != fingerprint(command):
            raise Conflict(
                f"idempotency key {command.key!r} was used for another request", hint="use a new key for a new request"
            )
        return Receipt(receipt.stream, receipt.seq, receipt.events, replayed=True)

    def keep_receipt(self, command: Command, digest: str, receipt: Receipt) -> None:
        self._receipts[(command.scope.workspace, command.key)] = (digest, receipt)
        if len(self._receipts) > RECEIPTS_KEPT:
            self._receipts.popitem(last=False)

    async def _fetch_receipt(self, command: Command) -> None:
        rows = await self._store.read(
            "SELECT fingerprint, stream, seq FROM receipts WHERE workspace = ? AND key = ?",
            (command.scope.workspace, command.key),
        )
        found = (rows[0][0], Receipt(rows[0][1], rows[0][2])) if rows else None
        self._receipts.setdefault((command.scope.workspace, command.key), found)

    # -- other servers and retention ----------------------------------------------------------------------------------

    def seen_own(self, events: Sequence[NewEvent]) -> None:
        """Our own events need not be read again, as long as nobody else's lie between."""
        for event in events:
            if event.position == self._seen.get(event.workspace, 0) + 1:
                self._seen[event.workspace] = event.position

    async def start_watching(self) -> None:
        """From here on, what others commit is foreign."""
        self._seen = dict(await self._store.read("SELECT workspace, position FROM log_heads"))

    async def read_foreign(self, tail: Tail) -> list[Event]:
        """Events since the last look that we did not write ourselves in an unbroken row."""
        found: list[Event] = []
        for workspace, head in await self._store.read("SELECT workspace, position FROM log_heads"):
            while self._seen.get(workspace, 0) < head:
                page = await tail.read(workspace, self._seen.get(workspace, 0))
                if not page:
                    break
                self._seen[workspace] = max(page[-1].position, self._seen.get(workspace, 0))
                found.extend(page)
        return found

    async def tombstone(self, hot: Hot) -> tuple[Tombstone, tuple[Any, ...]]:
        """What replaces an ended life's events, and the snapshot row that keeps its state."""
        if not hot.machine.ended(hot.state):
            raise Refused(f"{hot.stream} has not ended", hint="only ended lives leave the log")
        rows = await self._store.read("SELECT body, type FROM events WHERE stream = ? ORDER BY seq", (hot.stream,))
        if rows and rows[-1][1] == Tombstone.__name__:
            raise Refused(f"{hot.stream} has left the log already", code="pruned")
        digest = digest_of(row[0] for row in rows)
        data = hot.machine.dump(hot.state)
        row = (hot.stream, hot.seq, hot.scope.workspace, hot.scope.environment, data)
        return Tombstone(len(rows), digest), row


def digest_of(bodies: Iterable[Any]) -> str:
    """SHA-256 over the bodies of events, in order."""
    return hashlib.sha256(b"\n".join(as_bytes(body) for body in bodies)).hexdigest()


def key_head(command: Command) -> str:
    return f"key:{command.scope.workspace}/{command.key}"


def as_bytes(text: Any) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def fingerprint(command: Command) -> str:
    """What makes two uses of one key the same request: the life and the body; for one that creates a life, what the body says it
    was `told` (ids the server made left out)."""
    order = type(command.body).__name__
    told = getattr(command.body, "told", None)
    said = [order, told()] if told else [order, command.stream, command.body]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def not_found(stream: str) -> NotFound:
    return NotFound(f"there is no {stream.replace(':', ' ', 1)}")

