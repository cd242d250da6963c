"""A task in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ....kernel.types import Row, Scope
from .kept import Kept
from .kept import claimed as is_claimed


class Searched(Protocol):
    """A scalar of a document that can be searched for (`search.value.Value`)."""

    @property
    def path(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def number(self) -> float | None: ...
    @property
    def kind(self) -> str: ...


class TaskState:
    """A task in memory, with the rows that are to be written."""

    __slots__ = ("environment", "freed", "kept", "rows", "task_id", "touched", "values", "workspace")

    def __init__(self, stream: str, scope: Scope, kept: Kept | None = None) -> None:
        self.values: Mapping[str, Sequence[Searched]] = {}
        """What can be searched for in the things of the order that is being decided upon, by their hash."""
        self.environment, _, self.task_id = stream.partition(":")[2].partition("/")
        self.workspace = scope.workspace
        self.kept = kept if kept is not None else Kept()
        self.rows: list[Row] = []
        self.touched = False
        self.freed: tuple[str, ...] = ()
        """Limits a claim held that the newest event ended or moved."""

    @property
    def place(self) -> tuple[Scope, str]:
        """Where it is, and its id there."""
        return Scope(self.workspace, self.environment), self.task_id

    def claimed(self, now: int) -> bool:
        """Whether an execution holds a live claim."""
        return is_claimed(self.kept, now)
