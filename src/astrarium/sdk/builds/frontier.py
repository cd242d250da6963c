"""What is ready, what waits for what, what is blocked. Pure: ids in, ids out, no clock and no task."""

from __future__ import annotations

import heapq
from collections.abc import Iterable


class Frontier:
    """The open part of a build. Each task is in one of: waiting, ready, taken, done, failed, skipped. Every step costs as much as the
    task has neighbours, however large the build."""

    def __init__(self) -> None:
        self._order: dict[str, int] = {}
        self._missing: dict[str, set[str]] = {}
        self._needed_by: dict[str, list[str]] = {}
        self._ready: list[tuple[int, str]] = []
        self.taken: set[str] = set()
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self.skipped: set[str] = set()

    def __contains__(self, task: str) -> bool:
        return task in self._order

    def add(self, task: str, needs: Iterable[str] = (), *, done: bool = False) -> None:
        """Enter a task; one that is there stays as it is. What it needs may be entered later."""
        if task in self._order:
            return
        self._order[task] = len(self._order)
        if done:
            self.done.add(task)
            self._free(task)
        else:
            self._wait(task, needs)

    def take(self, number: int) -> list[str]:
        """Up to `number` ready tasks, those entered first; they are taken until `finish`, `fail` or `wait`."""
        chosen: list[str] = []
        while self._ready and len(chosen) < number:
            chosen.append(heapq.heappop(self._ready)[1])
        self.taken.update(chosen)
        return chosen

    def put_back(self, task: str) -> None:
        """A taken task is ready again."""
        self.taken.discard(task)
        heapq.heappush(self._ready, (self._order[task], task))

    def finish(self, task: str) -> None:
        """It is made."""
        self.taken.discard(task)
        self.done.add(task)
        self._free(task)

    def wait(self, task: str, needs: Iterable[str]) -> list[str]:
        """A taken task goes on when these are made; it is ready at once if they are. Returns those of them that never will be."""
        self.taken.discard(task)
        lost = [one for one in needs if one in self.failed or one in self.skipped]
        if not lost:
            self._wait(task, needs)
        return lost

    def fail(self, task: str) -> list[str]:
        """It could not be made: whatever needs it, directly or not, is skipped. Returns what that newly took away, nearest first."""
        self.taken.discard(task)
        self.failed.add(task)
        gone: list[str] = []
        heads = [task]
        while heads:
            for one in self._needed_by.pop(heads.pop(0), ()):
                if one in self._missing and one not in self.skipped:
                    del self._missing[one]
                    self.skipped.add(one)
                    gone.append(one)
                    heads.append(one)
        return gone

    def drop(self) -> list[str]:
        """Give up what is neither made nor failed nor taken. Returns it."""
        rest = [one for _, one in sorted(self._ready)] + list(self._missing)
        self._ready.clear()
        self._missing.clear()
        return rest

    def waiting(self) -> list[str]:
        """Tasks that wait for others. With nothing ready and nothing taken they wait for each other."""
        return list(self._missing)

    def _wait(self, task: str, needs: Iterable[str]) -> None:
        missing = {one for one in needs if one not in self.done}
        if not missing:
            heapq.heappush(self._ready, (self._order[task], task))
            return
        self._missing[task] = missing
        for one in missing:
            self._needed_by.setdefault(one, []).append(task)

    def _free(self, task: str) -> None:
        for one in self._needed_by.pop(task, ()):
            missing = self._missing.get(one)
            if missing is None:
                continue
            missing.discard(task)
            if not missing:
                del self._missing[one]
                heapq.heappush(self._ready, (self._order[one], one))
