"""Slots: limits, queues, locks, unique names, one primitive.

A slot has holders and a line of those who wait, ordered by (priority high first, time). It is taken and given back in the
transaction of the command that needs it. Every change moves its fence, which is also the sequence number of its head
`slot:<workspace>/<name>`: verified like any other head, so two servers cannot both give the last place away.

The limit is the slot's, not the asker's: the newest ask sets it for everybody, those in line included.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from typing import Any

from .ports import SLOTS, Batch, Store
from .types import Job, Scope, SlotAsk, SlotGranted, SlotView

OF_LIMIT = ""
"""The holder of the row that notes a limit which changed while there were places: their rows name the older one."""
SPARE = 64
"""So many who left may stand in a line of nobody before it is swept."""


def slot_head(workspace: str, name: str) -> str:
    return f"slot:{workspace}/{name}"


class Place:
    """One row of a slot: a holder or somebody in line."""

    __slots__ = ("at", "environment", "fence", "held", "holder", "number", "priority", "until")

    def __init__(self, holder: str, held: bool, priority: int, at: int, until: int, fence: int, number: int) -> None:
        self.holder = holder
        self.held = held
        self.priority = priority
        self.at = at
        self.until = until
        self.fence = fence
        self.number = number

    def rank(self) -> tuple[int, int, int]:
        return (-self.priority, self.at, self.number)

    def __lt__(self, other: Place) -> bool:
        """Asked of equal ranks only: a slot was read while it moved, and the commit will find out."""
        return False


class Slot:
    """The state of one slot in memory. `line` is a heap by rank; who left it stays there until its turn or a sweep, `waiting` says
    who is still meant."""

    __slots__ = ("ending", "fence", "head", "holders", "limit", "line", "name", "noted", "waiting", "workspace")

    def __init__(self, workspace: str, name: str) -> None:
        self.workspace = workspace
        self.name = name
        self.head = slot_head(workspace, name)
        self.fence = 0
        self.limit = 0
        self.noted = False
        self.holders: dict[str, Place] = {}
        self.ending: dict[str, Place] = {}
        self.line: list[tuple[tuple[int, int, int], Place]] = []
        self.waiting: dict[str, Place] = {}

    def view(self) -> SlotView:
        """What a decision sees, without a copy."""
        return SlotView(self.holders, len(self.waiting), self.fence)

    def allow(self, limit: int, batch: Batch) -> list[Place]:
        """Set the limit; returns those in line who hold a place now. Holders beyond a lower limit stay."""
        if limit == self.limit:
            return []
        self.limit = limit
        if not self.holders and not self.waiting:
            return []
        self.noted = True
        self.fence += 1
        batch.put(SLOTS, (self.workspace, self.name, OF_LIMIT, f"limit:{limit}", 0, 0, 0, 0, 0))
        return self._promote(batch)

    def ask(self, holder: str, ask: SlotAsk, now: int, batch: Batch) -> int:
        """Take a place or stand in line (again, for somebody already there). Returns the fence if held now, else 0."""
        held = self.holders.get(holder)
        if held is not None:
            return held.fence
        if holder in self.waiting:
            return 0
        if not self.holders and not self.waiting:
            self.limit = ask.limit
        self.fence += 1
        place = Place(holder, False, ask.priority, ask.since or now, ask.until, 0, self.fence)
        if ask.over or (not self.waiting and self._room()):
            self.fence += 1
            self.hold(place, self.fence)
        else:
            self.stand(place)
        self._put(place, batch)
        return place.fence

    def stand(self, place: Place) -> None:
        """Into the line."""
        heapq.heappush(self.line, (place.rank(), place))
        self.waiting[place.holder] = place

    def free(self, holder: str, batch: Batch) -> list[Place]:
        """Give a place back; returns those who hold one now."""
        if self.holders.pop(holder, None) is not None:
            self.ending.pop(holder, None)
        elif self.waiting.pop(holder, None) is not None and len(self.line) > 2 * len(self.waiting) + SPARE:
            self.line = [(place.rank(), place) for place in self.waiting.values()]
            heapq.heapify(self.line)
        self.fence += 1
        batch.drop(SLOTS, (self.workspace, self.name, holder))
        granted = self._promote(batch)
        if self.noted and not self.holders and not self.waiting:
            self.noted = False
            batch.drop(SLOTS, (self.workspace, self.name, OF_LIMIT))
        return granted

    def expire(self, now: int, batch: Batch) -> list[Place]:
        """End the holds whose time is over; returns those who hold a place now."""
        over = [place for place in self.ending.values() if place.until <= now]
        granted: list[Place] = []
        for place in over:
            granted.extend(self.free(place.holder, batch))
        return granted

    def _promote(self, batch: Batch) -> list[Place]:
        granted: list[Place] = []
        while self._room() and (place := self._first()) is not None:
            heapq.heappop(self.line)
            del self.waiting[place.holder]
            self.fence += 1
            self.hold(place, self.fence)
            self._put(place, batch)
            granted.append(place)
        return granted

    def _first(self) -> Place | None:
        """The next in line."""
        while self.line:
            place = self.line[0][1]
            if self.waiting.get(place.holder) is place:
                return place
            heapq.heappop(self.line)
        return None

    def _room(self) -> bool:
        return self.limit <= 0 or len(self.holders) < self.limit

    def hold(self, place: Place, fence: int) -> None:
        place.held = True
        place.fence = fence
        self.holders[place.holder] = place
        if place.until:
            self.ending[place.holder] = place

    def _put(self, place: Place, batch: Batch) -> None:
        state = f"held:{self.limit}" if place.held else f"waiting:{self.limit}"
        batch.put(
            SLOTS,
            (self.workspace, self.name, place.holder, state, place.priority, place.at, place.until, place.fence, place.number),
        )


async def load_slot(store: Store, workspace: str, name: str) -> Slot:
    """Read a slot; one that nobody ever asked for is empty."""
    slot = Slot(workspace, name)
    head = await store.read("SELECT seq FROM heads WHERE stream = ?", (slot.head,))
    slot.fence = head[0][0] if head else 0
    rows: list[tuple[Any, ...]] = await store.read(
        "SELECT holder, state, priority, at, until, fence, number FROM slots WHERE workspace = ? AND name = ?", (workspace, name)
    )
    for holder, state, priority, at, until, fence, number in rows:
        kind, _, limit = state.partition(":")
        if holder == OF_LIMIT or not slot.noted:
            slot.limit = int(limit)
        if holder == OF_LIMIT:
            slot.noted = True
            continue
        place = Place(holder, kind == "held", priority, at, until, fence, number)
        if place.held:
            slot.hold(place, fence)
        else:
            slot.stand(place)
    return slot


class PlainJob:
    """A job without a place of its own and without anybody to tell when it begins; a lost one is simply done again."""

    leased = False

    def place(self, job: Job) -> str:
        return ""

    def claim(self, job: Job) -> Any | None:
        return None

    def lose(self, job: Job, begun: bool) -> Any | None:
        return None

    def broke(self, job: Job, error: Exception) -> Any | None:
        return None


class GrantJob(PlainJob):
    """Tells a life in line that it holds a place now."""

    name = "slot_granted"

    def carry_out(self, job: Job) -> Any:
        return SlotGranted(job.body["name"], job.body["fence"])


class ExpireJob(PlainJob):
    """Ends holds whose time is over."""

    name = "slot_expire"

    def __init__(self, expire: Callable[[Scope, str], Awaitable[None]]) -> None:
        self._expire = expire

    def carry_out(self, job: Job) -> Any:
        return self._expire(Scope(job.body["workspace"], job.body["environment"]), job.body["name"])
