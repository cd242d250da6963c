"""Showing rows: a table for people at a terminal, columns separated by tabs for a pipe."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

STYLES = {
    "succeeded": "green",
    "partial": "yellow",
    "skipped": "dim",
    "pending": "dim",
    "queued": "cyan",
    "running": "bold cyan",
    "delayed": "yellow",
    "waiting": "magenta",
    "paused": "magenta",
    "stopping": "yellow",
    "cancelled": "yellow",
    "aborted": "yellow",
    "rejected": "red",
    "failed": "bold red",
    "timed_out": "bold red",
    "broken": "bold red",
    "lost": "bold red",
}
"""How the word for a status looks on a terminal."""


def at_terminal() -> bool:
    """Whether people look at what we print."""
    return sys.stdout.isatty()


def show_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """Print rows. A column named `status` is coloured on a terminal; `empty` is said there when there are none."""
    if not at_terminal():
        for row in rows:
            print("\t".join(_one_line(cell) for cell in row))
        return
    if not rows:
        print(empty)
        return
    box = importlib.import_module("rich.box")
    table = importlib.import_module("rich.table").Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name.upper(), no_wrap=name in ("id", "status", "started", "took"), overflow="fold")
    text = importlib.import_module("rich.text").Text
    for row in rows:
        cells = zip(columns, row, strict=True)
        table.add_row(*(text(str(cell), style=STYLES.get(str(cell), "") if name == "status" else "") for name, cell in cells))
    importlib.import_module("rich.console").Console().print(table)


def _one_line(cell: Any) -> str:
    return " ".join(str(cell).split()) if cell is not None else ""
