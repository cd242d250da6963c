"""Following a run to its end: its rows are read again and again, and what changed is shown."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ..runs.work.workshop import step_file
from ..store.log import run_folder, try_files
from .source import Source
from .tree import Preview, Show
from .view import RunView, StepView

LOOK_EVERY_S = 0.1
SHARE = 5
"""A look at a large run takes long: it may take one part in so many of the time."""

PREVIEW_LINES = 5
PREVIEW_BYTES = 4096
Wait = Callable[[float, float], Awaitable[None]]
"""Waits until something may have changed: at least, and at most so many seconds."""


async def follow(source: Source, run: RunView, logs: Path, show: Show, wait: Wait | None = None) -> RunView:
    """Show the run until it has ended, and return it as it then is."""
    preview: Preview = {}
    while True:
        began = time.monotonic()
        run = await source.details(run)
        _add_preview(run, logs, preview)
        if run.ended:
            show.finish(run, preview)
            return run
        show.update(run, preview)
        least_s = (time.monotonic() - began) * SHARE
        pause = max(LOOK_EVERY_S, least_s)
        await (wait(least_s, pause) if wait else asyncio.sleep(pause))


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
