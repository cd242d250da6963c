"""Limits that a build keeps by itself: at most so many bodies of one kind at a time. Pure: ids and keys in, ids out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence


class LocalLimits:
    """`limits`: key → most at a time; `keys_of`: the keys a task counts against. A task that finds no room is parked, and given back
    when there may be some, in the order in which they came. Every step costs as much as the task has keys."""

    def __init__(self, limits: Mapping[str, int], keys_of: Callable[[str], Sequence[str]]) -> None:
        self._room = dict(limits)
        self._keys_of = keys_of
        self._held: dict[str, tuple[str, ...]] = {}
        self._parked: dict[str, deque[str]] = {}

    def enter(self, task: str) -> bool:
        """Whether the task may run now; else it is parked until `leave` gives it back."""
        if not self._room:
            return True
        keys = tuple(dict.fromkeys(key for key in self._keys_of(task) if key in self._room))
        full = next((key for key in keys if self._room[key] < 1), None)
        if full is not None:
            self._parked.setdefault(full, deque()).append(task)
            return False
        for key in keys:
            self._room[key] -= 1
        self._held[task] = keys
        return True

    def leave(self, task: str) -> list[str]:
        """It does not run any more. The parked tasks that should ask again."""
        freed = self._held.pop(task, ())
        for key in freed:
            self._room[key] += 1
        return [self._parked[key].popleft() for key in freed if self._parked.get(key)]
