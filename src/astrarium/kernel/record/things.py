"""Things: put once by content hash, never changed. Decoded things are shared by all who refer to them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from ...errors import Bug
from ..machine import Registry
from ..ports import THINGS, Batch, Store

KEPT = 4096
"""Decoded things held in memory."""


class Things:
    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._cache: OrderedDict[str, Any] = OrderedDict()
        self._stored: OrderedDict[str, None] = OrderedDict()

    def know(self, kind: str, data: bytes) -> str:
        """Decode a thing that is about to be stored, and return its hash. Raises what its decoder raises."""
        key = hashlib.sha256(data).hexdigest()
        if key not in self._cache:
            self._keep(key, self._registry.things[kind](data))
        return key

    def put(self, key: str, kind: str, data: bytes, at: int, batch: Batch) -> None:
        """Put a thing into a batch by its hash, unless it was put before."""
        if key not in self._stored:
            batch.put(THINGS, (key, kind, at, data))
            self._stored[key] = None
            if len(self._stored) > KEPT:
                self._stored.popitem(last=False)

    def get(self, key: str) -> Any | None:
        """A decoded thing, if it is in memory."""
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
        return found

    async def fetch(self, keys: Iterable[str]) -> dict[str, Any]:
        """Decoded things by hash; a missing one is a broken promise of the store."""
        found: dict[str, Any] = {}
        for key in keys:
            thing = self.get(key)
            if thing is None:
                rows = await self._store.read("SELECT kind, data FROM things WHERE hash = ?", (key,))
                if not rows:
                    raise Bug(f"thing {key} is not in the store")
                thing = self._registry.things[rows[0][0]](bytes(rows[0][1]))
                self._keep(key, thing)
            found[key] = thing
        return found

    def forget(self) -> None:
        """After a failed commit: what was put with it may not be stored."""
        self._cache.clear()
        self._stored.clear()

    def _keep(self, key: str, thing: Any) -> None:
        self._cache[key] = thing
        if len(self._cache) > KEPT:
            self._cache.popitem(last=False)
