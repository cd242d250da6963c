"""Locks that somebody holds."""

from __future__ import annotations

from typing import Any

from ....errors import NotFound
from ....kernel.ports import Store
from ....kernel.types import Scope
from ...tenancy.workspace.body import shown_id
from .. import wire
from ..machines.lock import LockAcquired
from .text import moment

_COLUMNS = "name, owner, acquired_at, expires_at, version"
_HELD = f"SELECT {_COLUMNS} FROM locks WHERE environment = ? AND owner <> '' AND expires_at > ? ORDER BY acquired_at DESC"
_ONE = f"SELECT {_COLUMNS} FROM locks WHERE environment = ? AND name = ? AND owner <> ''"


def _lock(scope: Scope, row: tuple[Any, ...]) -> wire.TaskLock:
    name, owner, acquired, expires, version = row
    return wire.TaskLock(name, shown_id(scope.environment), owner, moment(acquired), moment(expires), version)


def granted(scope: Scope, name: str, event: LockAcquired, ttl_s: int) -> wire.TaskLock:
    """A lock as it was just granted."""
    return _lock(scope, (name, event.owner, event.until - ttl_s * 1_000_000, event.until, event.version))


async def list_locks(store: Store, scope: Scope, after: int) -> list[wire.TaskLock]:
    """Locks of an environment whose lease ends after a time (microseconds), the newest first."""
    return [_lock(scope, row) for row in await store.read(_HELD, (scope.environment, after))]


async def read_lock(store: Store, scope: Scope, name: str) -> wire.TaskLock:
    """Raises `NotFound`."""
    rows = await store.read(_ONE, (scope.environment, name))
    if not rows:
        raise NotFound("Lock not found")
    return _lock(scope, rows[0])
