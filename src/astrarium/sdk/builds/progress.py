"""A bar for people who wait."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from ...lazy import library
from .summary import TaskCount

if TYPE_CHECKING:
    import rich.console as rich_console
    import rich.progress as rich_progress
else:
    rich_console = library("rich.console")
    rich_progress = library("rich.progress")


Shown = bool | Literal["lines"] | None


class Progress:
    """Shows how far a build is, on standard error: a bar (`wanted` True; None: when that is a terminal), or a line for each task that
    ends."""

    def __init__(self, wanted: Shown) -> None:
        self._lines = wanted == "lines"
        self._shown = not self._lines and (sys.stderr.isatty() if wanted is None else bool(wanted))
        self._bar: rich_progress.Progress | None = None

    def begin(self) -> None:
        if not self._shown:
            return
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            console=rich_console.Console(stderr=True),
        )
        self._bar.add_task("looking", total=None)
        self._bar.start()

    def tell(self, count: TaskCount, running: int) -> None:
        if self._bar is None:
            return
        ended = count.discovered - count.pending
        bad = f", {count.failed} failed" if count.failed else ""
        self._bar.update(self._bar.task_ids[0], description=f"{running} running{bad}", completed=ended, total=count.discovered)

    def told(self, task: str, how: str) -> None:
        """A task ended, or was found made."""
        if self._lines:
            print(f"{how} {task}", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
