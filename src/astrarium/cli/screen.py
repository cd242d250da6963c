"""Showing rows: a table for people at a terminal, columns separated by tabs for a pipe."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
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
        cells = zip(columns, ("" if cell is None else str(cell) for cell in row), strict=True)
        table.add_row(*(text(cell, style=STYLES.get(cell, "") if name == "status" else "") for name, cell in cells))
    importlib.import_module("rich.console").Console().print(table)


def show_values(found: Mapping[str, Any]) -> None:
    """Print what is known of one thing, a line each; what is empty is left out. Times are shown in people's own zone."""
    told = [(name.replace("_", " "), _said(name, value)) for name, value in found.items() if value not in (None, "", [], {})]
    show_rows(("what", "value"), told, "")


def clock(moment: str | None) -> str:
    """A time as a server writes it (RFC 3339), in people's own zone, to the second."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _said(name: str, value: Any) -> str:
    if isinstance(value, str):
        return clock(value) if name.endswith(("_at", "_by")) and value[:4].isdigit() else value
    if isinstance(value, list | dict):
        return ", ".join(map(str, value)) if isinstance(value, list) and not isinstance(value[0], dict) else json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _one_line(cell: Any) -> str:
    return " ".join(str(cell).split()) if cell is not None else ""
