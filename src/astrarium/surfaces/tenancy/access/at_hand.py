"""What requests look up again and again, kept in memory: forgotten as soon as an entry of its kind changes in this process, and at
most a second old where other servers write to the database as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from ....kernel.engine import Engine
from ....kernel.machine import Registry
from ....kernel.record.entry import EntryDropped, EntryPut, kind_and_id

FRESH_US = 1_000_000
"""How old what is at hand may be where other servers write too."""
KEPT = 10_000

T = TypeVar("T")


class AtHand(Generic[T]):
    """What was looked up, by key. `forget` is told of changes; a look-up under way meanwhile is not kept."""

    def __init__(self, look_up: Callable[[str], Awaitable[T | None]], engine: Engine) -> None:
        self._look_up = look_up
        self._engine = engine
        self._known: dict[str, tuple[T, int]] = {}
        self._turn = 0

    def rests_on(self, registry: Registry, *kinds: str) -> None:
        """Forget whenever an entry of one of these kinds changes."""

        def changed(stream: str, event: Any) -> None:
            if kind_and_id(stream)[0] in kinds:
                self.forget()

        for event in (EntryPut, EntryDropped):
            registry.listen(event, changed)

    async def get(self, key: str) -> T | None:
        known = self._known.get(key)
        if known is not None and (not self._engine.store.shared or self._engine.clock.now() - known[1] < FRESH_US):
            return known[0]
        turn, now = self._turn, self._engine.clock.now()
        found = await self._look_up(key)
        self._known.pop(key, None)
        if found is not None and turn == self._turn:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = (found, now)
        return found

    def forget(self) -> None:
        self._turn += 1
        self._known.clear()
