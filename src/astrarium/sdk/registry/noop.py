"""The registry of those who have none: every start is granted, nothing is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import NotFound
from .item import Item, Order, Place, StoredTask


class NoRecord:
    """A build that nobody records."""

    build_id: str | None = None
    renew_s = 0.0

    def register(self, items: Sequence[Item]) -> None:
        """Nobody to tell."""

    def seal(self) -> None:
        """Nobody to tell."""

    def start(self, task_id: str, execution_id: str, place: Place, limit_keys: Sequence[str]) -> None:
        """Granted."""

    def open_upstreams(self, task_id: str, known: Callable[[str], bool]) -> Sequence[StoredTask]:
        return ()

    def renew(self, task_id: str, execution_id: str) -> bool:
        return True

    def complete(self, task_id: str, execution_id: str, artifacts: Sequence[Mapping[str, Any]]) -> None:
        """Nobody to tell."""

    def fail(self, task_id: str, execution_id: str, error: str) -> None:
        """Nobody to tell."""

    def interrupt(self, task_id: str, execution_id: str, error: str) -> None:
        """Nobody to tell."""

    def add(self, task_id: str, execution_id: str, items: Sequence[Item], needed: Sequence[str]) -> None:
        """Nobody to tell."""

    def skip_blocked(self) -> None:
        """Nobody to tell."""

    def end(self, status: str, error: str | None) -> None:
        """Nobody to tell."""


class NoOpRegistry:
    """Records nothing: what builds use when no registry is configured."""

    keeps = False

    def target_roots(self) -> Mapping[str, str] | None:
        return None

    def open_build(self, roots: Sequence[Item], order: Order) -> NoRecord:
        return NoRecord()

    def read_task(self, task_id: str) -> StoredTask:
        raise NotFound(
            f"no registry is configured, so nobody knows task {task_id}",
            hint="ar.APIRegistry(api_url=…), or `astrarium config profile add`",
        )
