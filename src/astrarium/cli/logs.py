"""`astrarium logs`: what the steps of a run wrote, as it is or while it is being written."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import Settings
from ..errors import Invalid, NotFound
from ..store.log import LINES_MAX, read_from, read_lines
from .follow import LOOK_EVERY_S, Watch, log_files
from .option import AsJson, DatabaseUrl, DataDir, RunReference, examples, new_app, print_json, settings_of
from .source import Source, open_source
from .view import RunView, StepView

APP = new_app()
CHUNK_BYTES = 256 * 1024
EXAMPLES = examples(
    "astrarium logs latest",
    "astrarium logs latest fetch --stderr",
    "astrarium logs -f report            (follow until the run ends)",
    "astrarium logs latest fetch --stdout > fetch.out",
    "astrarium logs latest --tail 20 --json",
)
Pieces = list[tuple[StepView, str, Path]]
"""(step, `stdout` or `stderr`, file) in the order to print"""


@APP.command(epilog=EXAMPLES)
def logs(
    reference: RunReference,
    step: Annotated[str, typer.Argument(metavar="[STEP]", help="Only this step.")] = "",
    following: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run ends.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Only standard output.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Only standard error.")] = False,
    tail: Annotated[int, typer.Option("--tail", min=0, max=LINES_MAX, metavar="N", help="Only the last N lines of each.")] = 0,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Print what the steps of a run wrote.

    With a STEP: its bytes as they are. Without: every line with the name of its step. Both streams, unless one is chosen; of a
    step that was tried several times, all tries of the newest round.
    """
    if following and as_json:
        raise Invalid("--follow and --json do not go together", code="usage")
    streams = [name for name, wanted in (("stdout", stdout), ("stderr", stderr)) if wanted] or ["stdout", "stderr"]
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    asyncio.run(_show(settings, reference, step, streams, tail, following, as_json))
    return 0


async def _show(
    settings: Settings, reference: str, name: str, streams: list[str], tail: int, following: bool, as_json: bool
) -> None:
    root = settings.data_dir / "logs"
    async with open_source(settings) as source:
        run = await source.details(await source.find(reference), depth=0)
        _check_step(run, name)
        if following:
            await _follow(source, run, root, name, streams, tail)
        elif as_json:
            print_json([_document(piece, tail) for piece in _pieces(run, root, name, streams)])
        else:
            printer = Printer(bool(name), run)
            for step, _, path in _pieces(run, root, name, streams):
                _print_file(printer, step, path, tail)
                printer.end_line(step.name)


def _check_step(run: RunView, name: str) -> None:
    names = [step.name for step in run.steps]
    if name and name not in names:
        some = ", ".join(names[:20])
        raise NotFound(f"run {run.id} of {run.name} has no step `{name}`", hint=f"its steps: {some}")


def _pieces(run: RunView, root: Path, name: str, streams: list[str]) -> Pieces:
    """Every log file, in the order in which the steps began."""
    found: Pieces = []
    steps = [step for step in run.steps if step.tries and name in ("", step.name)]
    for step in sorted(steps, key=lambda step: step.started_at):
        out, err = log_files(run, step, root)
        if step.merged and "stdout" not in streams:
            err = out
        for stream, files in (("stdout", out), ("stderr", err)):
            if stream in streams:
                found += [(step, stream, path) for path in files]
    return found


def _document(piece: tuple[StepView, str, Path], tail: int) -> dict[str, Any]:
    step, stream, path = piece
    page = read_lines([path], tail=tail or None, limit=LINES_MAX)
    return {
        "step": step.name,
        "try": int(path.name.rsplit(".", 2)[1]),
        "stream": stream,
        "file": str(path),
        "total_lines": page.total_lines,
        "has_more": page.has_more,
        "content": page.content,
    }


class Printer:
    """Bytes of log files on our output: as they are for one step, else line by line with the step's name."""

    def __init__(self, plain: bool, run: RunView) -> None:
        self._plain = plain
        self._width = max((len(step.name) for step in run.steps if step.tries), default=0)
        self._rest: dict[str, bytes] = {}
        self._out = sys.stdout.buffer

    def feed(self, name: str, data: bytes) -> None:
        if self._plain:
            self._out.write(data)
            return
        *lines, rest = (self._rest.pop(name, b"") + data).split(b"\n")
        for line in lines:
            self._line(name, line)
        if len(rest) > CHUNK_BYTES:
            self._line(name, rest)
        elif rest:
            self._rest[name] = rest

    def end_line(self, name: str) -> None:
        """The file is over: what has no line end yet is a line too."""
        rest = self._rest.pop(name, b"")
        if rest:
            self._line(name, rest)

    def flush(self) -> None:
        self._out.flush()

    def _line(self, name: str, line: bytes) -> None:
        self._out.write(f"{name:<{self._width}} | ".encode() + line + b"\n")


def _print_file(printer: Printer, step: StepView, path: Path, tail: int) -> None:
    offset = tail_offset(path, tail) if tail else 0
    while True:
        data, offset = read_from(path, offset, CHUNK_BYTES)
        if not data:
            break
        printer.feed(step.name, data)
    printer.flush()


def tail_offset(path: Path, lines: int) -> int:
    """Where the last `lines` lines of a file begin."""
    try:
        with path.open("rb") as file:
            end = place = file.seek(0, os.SEEK_END)
            found = 0
            while place > 0:
                size = min(CHUNK_BYTES, place)
                place -= size
                file.seek(place)
                chunk = file.read(size)
                at = size - 1 if place + size == end and chunk.endswith(b"\n") else size
                while (at := chunk.rfind(b"\n", 0, at)) >= 0:
                    found += 1
                    if found == lines:
                        return place + at + 1
    except FileNotFoundError:
        pass
    return 0


async def _follow(source: Source, run: RunView, root: Path, name: str, streams: list[str], tail: int) -> None:
    """Print what is there, then what comes, until the run has ended."""
    printer, wait = Printer(bool(name), run), Watch(source, run)
    offsets: dict[Path, int] = {}
    first = True
    while True:
        ended = run.ended  # read before the files: afterwards nothing more comes
        for step, _, path in _pieces(run, root, name, streams):
            if path not in offsets:
                offsets[path] = tail_offset(path, tail) if tail and first else 0
            while True:
                data, offsets[path] = read_from(path, offsets[path], CHUNK_BYTES)
                if not data:
                    break
                printer.feed(step.name, data)
            if step.ended_at:
                printer.end_line(step.name)
        printer.flush()
        if ended:
            return
        first = False
        await wait(0.0, LOOK_EVERY_S)
        run = await source.details(run, depth=0)
