"""What the builders of `test_share` do, each in a process of its own."""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated, Any

import astrarium as ar

ar.auto_namespace(__name__)
QUICK = ar.Claim(ttl_s=2, first_wait_s=0.02, most_wait_s=0.1, give_up_s=50)
WAIT_S = 50.0
Folder = Annotated[Path, ar.Field(significant=False)]


def note(folder: Path, word: str, file: str = "notes") -> None:
    """One line, whole, from however many processes."""
    with (folder / file).open("a") as lines:
        lines.write(word + "\n")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


class Part(ar.Task[int]):
    folder: Folder
    number: int

    def run(self) -> None:
        note(self.folder, f"part-{self.number}")
        note(self.folder, str(os.getpid()), "whom")
        time.sleep(0.02)
        self._save(self.number)


class Sum(ar.Task[int]):
    folder: Folder
    count: int

    def requires(self) -> Any:
        return [Part(folder=self.folder, number=number) for number in range(self.count)]

    def run(self) -> None:
        note(self.folder, "sum")
        note(self.folder, str(os.getpid()), "whom")
        self._save(sum(part.load() for part in self.requires()))


class Race(ar.Task[int]):
    folder: Folder
    number: int

    def run(self) -> None:
        note(self.folder, f"race-{self.number}")
        time.sleep(0.02)
        self._save(self.number)


class Below(ar.Task[int]):
    folder: Folder

    def run(self) -> None:
        note(self.folder, "below")
        self._save(1)


class Slow(ar.Task[int]):
    folder: Folder

    def requires(self) -> Any:
        return Below(folder=self.folder)

    def run(self) -> None:
        note(self.folder, "begun")
        if os.environ.get("ASTRARIUM_TEST_MODE") != "quick":
            time.sleep(WAIT_S)
        note(self.folder, "made")
        self._save(2)


def slow(folder: Path) -> Slow:
    return Slow(folder=folder)


class Step(ar.Task[int]):
    folder: Folder
    number: int

    def requires(self) -> Any:
        return Step(folder=self.folder, number=self.number - 1) if self.number > 1 else None

    def run(self) -> None:
        note(self.folder, f"step-{self.number}")
        wait_for(self.folder / "go")
        self._save(self.number)


class Heavy(ar.Task[int]):
    folder: Folder
    name: str
    number: int

    def run(self) -> None:
        note(self.folder, "in")
        time.sleep(0.02)
        note(self.folder, "out")
        self._save(self.number)


def _build(url: str, folder: str, tasks: Any, **more: Any) -> ar.BuildSummary:
    registry = ar.APIRegistry(api_url=url, code_id="code-1")
    with ar.use_target_roots({"default": f"{folder}/results"}):
        return ar.build(tasks, registry=registry, claim=QUICK, **more)


def build_wide(url: str, folder: str, gate: Barrier, count: int) -> None:
    gate.wait(WAIT_S)
    _build(url, folder, Sum(folder=Path(folder), count=count), mode="threads", max_concurrent=4)


def race(url: str, folder: str, gate: Barrier, races: int) -> None:
    for number in range(races):
        gate.wait(WAIT_S)
        _build(url, folder, Race(folder=Path(folder), number=number), mode="sequential")


def build_slowly(url: str, folder: str, mode: str) -> None:
    os.environ["ASTRARIUM_TEST_MODE"] = mode
    _build(url, folder, slow(Path(folder)), mode="threads")


def build_in_steps(url: str, folder: str) -> None:
    told = _build(url, folder, Step(folder=Path(folder), number=3), mode="sequential", raise_on_failure=False)
    sys.exit(3 if told.status == "stopped" else 1)


def build_heavy(url: str, folder: str, gate: Barrier, name: str) -> None:
    gate.wait(WAIT_S)
    tasks = [Heavy(folder=Path(folder), name=name, number=number) for number in range(3)]
    _build(url, folder, tasks, mode="threads", limit_keys=lambda task: ["heavy"])
