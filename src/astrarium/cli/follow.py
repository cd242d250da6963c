"""Following a run to its end: its rows are read again and again, and what changed is shown."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ..errors import Unavailable
from ..runs.work.workshop import step_file
from ..store.log import run_folder, try_files
from .source import Source
from .tree import Preview, Show
from .view import RunView, StepView

LOOK_EVERY_S = 0.1
SHARE = 5
"""A look at a large run takes long: it may take one part in so many of the time."""

ALONE_LOOKS = 10
"""A run that nobody has driven for so many looks is given up: a server that is started anew at once goes on with it."""
PREVIEW_LINES = 5
PREVIEW_BYTES = 4096
Wait = Callable[[float, float], Awaitable[None]]
"""Waits until something may have changed: at least, and at most so many seconds."""


class Watch:
    """The pauses of following a run that another process drives. Raises `Unavailable` once none does any more."""

    def __init__(self, source: Source, run: RunView) -> None:
        self._source = source
        self._run = run
        self._alone = 0

    async def __call__(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(most_s)
        self._alone = 0 if await self._source.is_worked_on() else self._alone + 1
        if self._alone > ALONE_LOOKS:  # its last words have been read by now
            raise Unavailable(
                f"the server ended before run {self._run.id} of {self._run.name} did",
                hint="the run goes on when the server is started again; `astrarium status` shows how it stands",
            )


async def follow(source: Source, run: RunView, logs: Path, show: Show, wait: Wait | None = None) -> RunView:
    """Show the run until it has ended, and return it as it then is. Without a `wait` another process drives it, see `Watch`."""
    preview: Preview = {}
    wait = wait or Watch(source, run)
    while True:
        began = time.monotonic()
        run = await source.details(run)
        _add_preview(run, logs, preview)
        if run.ended:
            show.finish(run, preview)
            return run
        show.update(run, preview)
        least_s = (time.monotonic() - began) * SHARE
        await wait(least_s, max(LOOK_EVERY_S, least_s))


def _add_preview(run: RunView, logs: Path, preview: Preview) -> None:
    """The last lines of every step that ended since the last look."""
    for step in run.steps:
        if step.ended_at and step.name not in preview and step.tries:
            preview[step.name] = last_lines(log_files(run, step, logs)[0])


def log_files(run: RunView, step: StepView, logs: Path) -> tuple[list[Path], list[Path]]:
    """The files of all tries of a step's newest round: (stdout, stderr)."""
    folder = run_folder(logs, run.key, run.created_at)
    name = step_file(step.round, step.name)
    return try_files(folder, name, "out"), try_files(folder, name, "err")


def last_lines(files: list[Path]) -> list[str]:
    """The last few lines of the newest file, shortened to what fits a screen."""
    if not files:
        return []
    try:
        with files[-1].open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - PREVIEW_BYTES))
            text = file.read(PREVIEW_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    lines = [_printable(line) for line in text.splitlines() if line.strip()]
    kept = lines[-PREVIEW_LINES:]
    return ["…", *kept] if len(lines) > len(kept) or size > PREVIEW_BYTES else kept


def _printable(line: str) -> str:
    """The line without what would move the cursor or ring the bell."""
    return "".join(char if char.isprintable() else " " for char in line.expandtabs(4))[:200]
