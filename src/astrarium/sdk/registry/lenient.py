"""A registry whose absence does not stop a build: what cannot be told is not told, and a warning says so once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ...errors import AstrariumError, Conflict
from .item import Item, Order, Place, StoredTask
from .noop import NoRecord
from .port import BuildRecord, Registry

log = logging.getLogger("astrarium.sdk")
T = TypeVar("T")


class LenientRegistry:
    """`inner`, as long as it answers. A refusal that concerns the work (a task that somebody else makes, a build that was cancelled, target
    roots that differ) is passed on; everything else ends the recording, not the build. Nobody coordinates the builders then."""

    def __init__(self, inner: Registry) -> None:
        self._inner = inner
        self._lost = False

    @property
    def keeps(self) -> bool:
        return self._inner.keeps

    def target_roots(self) -> Mapping[str, str] | None:
        try:
            return self._inner.target_roots()
        except Conflict:
            raise
        except AstrariumError as error:
            self._lost = True
            _warn(error)
            return None

    def open_build(self, roots: Sequence[Item], order: Order) -> BuildRecord:
        if self._lost:
            return NoRecord()
        try:
            return LenientRecord(self._inner.open_build(roots, order))
        except AstrariumError as error:
            _warn(error)
            return NoRecord()

    def read_task(self, task_id: str) -> StoredTask:
        return self._inner.read_task(task_id)


class LenientRecord:
    """A build that goes on when its registry is gone."""

    def __init__(self, inner: BuildRecord) -> None:
        self._inner = inner
        self._lost = False

    @property
    def build_id(self) -> str | None:
        return self._inner.build_id

    @property
    def renew_s(self) -> float:
        return self._inner.renew_s

    def _told(self, call: Callable[..., T], *said: Any, otherwise: T) -> T:
        """What the call gives; `otherwise` when the registry is gone. `Denied`, which is no `AstrariumError`, is passed on."""
        if self._lost:
            return otherwise
        try:
            return call(*said)
        except AstrariumError as error:
            self._lost = True
            _warn(error)
            return otherwise

    def register(self, items: Sequence[Item]) -> None:
        self._told(self._inner.register, items, otherwise=None)

    def seal(self) -> None:
        self._told(self._inner.seal, otherwise=None)

    def start(self, task_id: str, execution_id: str, place: Place, limit_keys: Sequence[str]) -> None:
        self._told(self._inner.start, task_id, execution_id, place, limit_keys, otherwise=None)

    def open_upstreams(self, task_id: str, known: Callable[[str], bool]) -> Sequence[StoredTask]:
        nothing: Sequence[StoredTask] = ()
        return self._told(self._inner.open_upstreams, task_id, known, otherwise=nothing)

    def renew(self, task_id: str, execution_id: str) -> bool:
        return self._told(self._inner.renew, task_id, execution_id, otherwise=True)

    def complete(self, task_id: str, execution_id: str, artifacts: Sequence[Mapping[str, Any]]) -> None:
        self._told(self._inner.complete, task_id, execution_id, artifacts, otherwise=None)

    def fail(self, task_id: str, execution_id: str, error: str) -> None:
        self._told(self._inner.fail, task_id, execution_id, error, otherwise=None)

    def interrupt(self, task_id: str, execution_id: str, error: str) -> None:
        self._told(self._inner.interrupt, task_id, execution_id, error, otherwise=None)

    def add(self, task_id: str, execution_id: str, items: Sequence[Item], needed: Sequence[str]) -> None:
        self._told(self._inner.add, task_id, execution_id, items, needed, otherwise=None)

    def skip_blocked(self) -> None:
        self._told(self._inner.skip_blocked, otherwise=None)

    def end(self, status: str, error: str | None) -> None:
        self._told(self._inner.end, status, error, otherwise=None)


def _warn(error: AstrariumError) -> None:
    log.warning("the build goes on without the registry: %s", error)
