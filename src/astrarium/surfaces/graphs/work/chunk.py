"""What steps tell while they run (tokens, calls of tools, artifacts), as it is written: chunks between the frames of the log.

A chunk repeats the number of the frame before it. How far each open file was told is part of every event id (after `~`), so a client
continues in the middle of several branches that talk at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ....runs.work.tool.record import record_file
from ....runs.work.workshop import step_file
from ....store.log import Followed, FollowedFiles, run_folder
from ..views.frame import Narration
from ..views.run import shown_time

LOOK_S = 1.0
"""So often a file is looked at whose changes nothing tells of."""
HIDDEN = frozenset(("at", "type", "key"))
_PART = re.compile(r"(\d{1,18})-(\d{1,18})")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Places(NamedTuple):
    """How far files were told: place in the log of the try's start → bytes."""

    told: dict[int, int]

    @classmethod
    def parse(cls, event_id: str) -> Places:
        return cls({int(start): int(offset) for start, offset in _PART.findall(event_id.partition("~")[2])})


class Open:
    """The file of a try that runs. `start`: the place of its start in the run's log."""

    def __init__(self, path: Path, start: int, offset: int, step: int, branch: str | None) -> None:
        self.path = path
        self.start = start
        self.offset = offset
        self.step = step
        self.branch = branch
        self.followed: Followed | None = None

    def lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(offset after it, record) of every line that is complete and was not told."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            self.offset += len(line)
            try:
                yield self.offset, _decode(line)
            except msgspec.MsgspecError:
                continue


class Chunks:
    """The open files of one run, for one reader. `changed` is set when there may be more to read."""

    def __init__(self, logs: Path, files: FollowedFiles, narration: Narration, places: Places) -> None:
        self.changed = asyncio.Event()
        self._logs = logs
        self._files = files
        self._narration = narration
        self._places = places
        self._open: dict[int, Open] = {}
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    @property
    def wait_s(self) -> float | None:
        """How long to wait for news at most; None = as long as it takes."""
        return LOOK_S if any(one.followed is not None and one.followed.blind for one in self._open.values()) else None

    @property
    def mark(self) -> str:
        """How far all files were told."""
        told = "_".join(f"{one.start}-{one.offset}" for one in self._open.values() if one.offset)
        return f"~{told}" if told else ""

    def begin(self, no: int, start: int) -> None:
        """A try began."""
        narration = self._narration
        step, name, _ = narration.step(no)
        folder = run_folder(self._logs, narration.run, narration.created_at)
        path = record_file(folder, step_file(step.round, name), step.try_no)
        one = self._open[no] = Open(path, start, self._places.told.get(start, 0), step.place, step.branch or None)
        one.followed = self._stack.enter_context(self._files.follow(path, self.changed))

    def end(self, no: int) -> list[dict[str, Any]]:
        """A try ended: the rest of what it told."""
        one = self._open.get(no)
        if one is None:
            return []
        made = list(self._made(one))
        del self._open[no]
        if one.followed is not None:
            one.followed.let_go()
        return made

    def read(self) -> list[dict[str, Any]]:
        """What was written since."""
        self.changed.clear()
        for one in self._open.values():
            if one.followed is not None:
                one.followed.arm()
        return [frame for one in self._open.values() for frame in self._made(one)]

    def _made(self, one: Open) -> Iterator[dict[str, Any]]:
        seq, narration = self._narration.seq, self._narration
        for offset, record in one.lines():
            fields = {name: value for name, value in record.items() if name not in HIDDEN}
            yield {
                "type": record.get("type", "token"), "run_id": narration.alias, "step": one.step, "branch_id": one.branch,
                "ts": shown_time(int(record.get("at", 0))), "payload": {}, **fields, "event_id": f"{narration.run}.c{seq}{self.mark}",
                "seq": seq, "offset": offset,
            }  # fmt: skip
