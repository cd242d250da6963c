"""Locks of `/api/v1`: for builders that share work with clients which know no claims (Stardag 0.1 to 0.23)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import AstrariumError, Conflict
from ...spec.ids import uuid7
from ..session import Session
from .item import Denied, Item, Place, StoredTask
from .port import BuildRecord

HELD = frozenset({423, 429})
"""Statuses of a lock that somebody else has, or of too many locks at once."""


class LockedRecord:
    """A build that takes the lock named like a task before it claims the task, and gives it back at the end. `wanted` says for which."""

    def __init__(self, inner: BuildRecord, session: Session, wanted: Callable[[str], bool], ttl_s: int) -> None:
        self._inner = inner
        self._session = session
        self._wanted = wanted
        self._ttl_s = ttl_s
        self._owner = uuid7()
        self._held: set[str] = set()

    @property
    def build_id(self) -> str | None:
        return self._inner.build_id

    @property
    def renew_s(self) -> float:
        return self._ttl_s / 2

    def register(self, items: Sequence[Item]) -> None:
        self._inner.register(items)

    def seal(self) -> None:
        self._inner.seal()

    def start(self, task_id: str, execution_id: str, place: Place, limit_keys: Sequence[str]) -> None:
        if self._wanted(task_id) and task_id not in self._held:
            self._acquire(task_id)
        try:
            self._inner.start(task_id, execution_id, place, limit_keys)
        except BaseException:
            self._release(task_id)
            raise

    def open_upstreams(self, task_id: str, known: Callable[[str], bool]) -> Sequence[StoredTask]:
        return self._inner.open_upstreams(task_id, known)

    def renew(self, task_id: str, execution_id: str) -> bool:
        if task_id in self._held:
            try:
                self._lock("renew", task_id, {"ttl_seconds": self._ttl_s})
            except Conflict:
                self._held.discard(task_id)
                return False
        return self._inner.renew(task_id, execution_id)

    def complete(self, task_id: str, execution_id: str, artifacts: Sequence[Mapping[str, Any]]) -> None:
        self._inner.complete(task_id, execution_id, artifacts)
        self._release(task_id)

    def fail(self, task_id: str, execution_id: str, error: str) -> None:
        self._inner.fail(task_id, execution_id, error)
        self._release(task_id)

    def interrupt(self, task_id: str, execution_id: str, error: str) -> None:
        self._inner.interrupt(task_id, execution_id, error)
        self._release(task_id)

    def add(self, task_id: str, execution_id: str, items: Sequence[Item], needed: Sequence[str]) -> None:
        self._inner.add(task_id, execution_id, items, needed)

    def skip_blocked(self) -> None:
        self._inner.skip_blocked()

    def end(self, status: str, error: str | None) -> None:
        self._inner.end(status, error)

    def _acquire(self, task_id: str) -> None:
        try:
            told = self._lock("acquire", task_id, {"ttl_seconds": self._ttl_s, "check_task_completion": True})
        except AstrariumError as refused:
            if refused.details.get("status") not in HELD:
                raise
            raise Denied("task_already_running", f"the lock of task {task_id}: {refused.message}") from refused
        if told["status"] == "already_completed":
            raise Denied(Denied.COMPLETED, f"task {task_id} is made")
        self._held.add(task_id)

    def _release(self, task_id: str) -> None:
        if task_id in self._held:
            self._held.discard(task_id)
            try:
                self._lock("release", task_id, {"task_completed": False})
            except Conflict:
                return  # it had ended, and is somebody else's now

    def _lock(self, verb: str, name: str, body: Mapping[str, Any]) -> Any:
        return self._session.call(
            "POST", f"/api/v1/locks/{name}/{verb}", body={"owner_id": self._owner, **body}, scoped=True, repeatable=True
        )
