"""Tasks that tests build. A module of its own, so that other processes can import them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated

import astrarium as ar

ar.auto_namespace(__name__)

RUNS: list[str] = []
"""What ran in this process, in order."""


@ar.task
def numbers(limit: int) -> list[int]:
    RUNS.append(f"numbers {limit}")
    return list(range(limit))


@ar.task
def total(values: ar.Depends[list[int]]) -> int:
    RUNS.append("total")
    return sum(values)


@ar.task(version="2")
async def report(value: int, title: str = "sum") -> str:
    RUNS.append("report")
    return f"{title}: {value}"


@ar.task
def breaks(message: str, value: int = 0) -> int:
    RUNS.append("breaks")
    raise RuntimeError(message)


@ar.task
def threaded(value: int = 0, limit: int = 1, threads: Annotated[int, ar.Field(significant=False)] = 1) -> int:
    return value + limit


@ar.task
def nothing(value: int = 0) -> dict:
    """As the tasks of a first sketch: no body yet."""


@ar.task
def process_id(number: int) -> int:
    return os.getpid()


class Sums(ar.Task[str]):
    """Finds out what it needs while it runs."""

    count: int
    failing: bool = False

    def run(self):
        RUNS.append("Sums begins")
        first = [total(values=numbers(limit=number)) for number in range(self.count)]
        yield first
        if self.failing:
            yield breaks(message="below")
        last = report(value=total(values=numbers(limit=self.count)), title="last")
        yield {"last": last, "same": [last]}
        RUNS.append("Sums ends")
        self._save(",".join(str(one.load()) for one in first) + " " + last.load())

    def artifacts(self):
        return [ar.MarkdownArtifact(name="note", body="# done"), ar.JSONArtifact(name="facts", body={"count": self.count})]


class AsyncSums(ar.Task[int]):
    count: int

    async def run_aio(self):
        parts = [total(values=numbers(limit=number)) for number in range(self.count)]
        yield parts
        await self._save_aio(sum([await one.load_aio() for one in parts]))


class Held(ar.Task[str]):
    """Waits until the test lets it go on."""

    name: str

    def run(self):
        GATES[self.name][0].set()
        assert GATES[self.name][1].wait(30)
        self._save(self.name)


GATES: dict[str, tuple[threading.Event, threading.Event]] = {}
"""name → (it began, it may end)"""


def gate(name: str) -> tuple[threading.Event, threading.Event]:
    GATES[name] = (threading.Event(), threading.Event())
    return GATES[name]


class Interrupts(ar.Task[int]):
    """As if Ctrl-C were pressed while it runs, the first time."""

    marker: Path

    def run(self):
        if not self.marker.exists():
            self.marker.touch()
            raise KeyboardInterrupt
        self._save(1)


class Kills(ar.Task[int]):
    """Dies with its process the first time."""

    marker: Path

    def run(self):
        if not self.marker.exists():
            self.marker.touch()
            os._exit(1)
        self._save(1)
