"""Options and arguments several commands share, how settings are made of them, how pairs are read, and how JSON is printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ..config import Settings, load_settings
from ..errors import Invalid

DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="FOLDER", help="Folder of the database and the logs.")]
DagsDir = Annotated[Path | None, typer.Option("--dags-dir", metavar="FOLDER", help="Folder of the DAG files.")]
DatabaseUrl = Annotated[str | None, typer.Option("--database-url", metavar="URL", help="postgresql://… instead of SQLite.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunReference = Annotated[
    str, typer.Argument(metavar="RUN", help="A run id, its beginning, a DAG's name (its newest run), or `latest`.")
]


def new_app() -> typer.Typer:
    """The Typer application of one noun."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def examples(*lines: str) -> str:
    """An epilog that shows each example on a line of its own."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def settings_of(**flags: Any) -> Settings:
    """The settings under which a command works. `flags` that are None were not given."""
    return load_settings(flags, os.environ, Path.cwd())


def pair_of(word: str, shape: str, hint: str = "") -> tuple[str, str]:
    """The name and the rest of `NAME=REST`. Raises `Invalid` for what is not of this `shape`, as in `STEP=TEXT`."""
    name, equals, rest = word.partition("=")
    if not equals or not name:
        raise Invalid(f"`{word}` is no {shape}", hint=hint, code="usage")
    return name, rest


def print_json(document: Any) -> None:
    """One JSON document, readable, with a line end."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
