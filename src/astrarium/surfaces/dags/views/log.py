"""Logs: where the files of a run lie, and the lines a client asks for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from ....errors import Invalid, NotFound, Problem
from ....runs.work.workshop import step_file
from ....spec.graph import Graph, Node
from ....store.log import LINES_DEFAULT, LINES_MAX, read_lines, run_folder, run_place, try_file
from .. import wire
from .query import RunRow, StepRow

STREAMS = {"stdout": "out", "stderr": "err"}
WINDOW = ("tail", "head", "offset", "limit")


class Window(msgspec.Struct, frozen=True):
    """Which lines are asked for: `tail` wins over `head`, `head` over `offset` (from 1) and `limit`; 0 = not given."""

    tail: int = 0
    head: int = 0
    offset: int = 0
    limit: int = 0


def parse_window(query: Mapping[str, str]) -> Window:
    """Read tail, head, offset and limit. Raises `Invalid` with every problem."""
    problems: list[Problem] = []
    found: dict[str, int] = {}
    for name in WINDOW:
        text = query.get(name, "").strip()
        most = 10**12 if name == "offset" else LINES_MAX
        if text.isascii() and text.isdigit() and 1 <= int(text[:14]) <= most:
            found[name] = int(text)
        elif text:
            problems.append(Problem(f"{name} must be a whole number from 1 to {most:,}, not {text[:40]!r}", path=name))
    if problems:
        raise Invalid("; ".join(problem.message for problem in problems), problems)
    return Window(**found)


def parse_stream(query: Mapping[str, str]) -> str:
    """`stdout` unless `stderr` is asked for. Raises `Invalid`."""
    text = query.get("stream") or "stdout"
    if text not in STREAMS:
        problem = Problem(f"stream must be stdout or stderr, not {text[:40]!r}", path="stream")
        raise Invalid(problem.message, [problem])
    return text


@lru_cache(maxsize=64)
def folder_of(logs: Path, run: str, created_at: int) -> Path:
    """`run_folder`, asked once per node of a run that is shown."""
    return run_folder(logs, run, created_at)


class RunFiles:
    """Where the files of runs lie below the folder `logs`."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs

    def folder(self, row: RunRow) -> Path:
        return folder_of(self._logs, row.id, row.created_at)

    def run_log(self, row: RunRow) -> str:
        """What processes know as `DAG_RUN_LOG_FILE`. A text: a list shows a thousand of them."""
        return f"{self._logs}/{run_place(row.id, row.created_at)}/run.log"

    def step_logs(self, row: RunRow, step: StepRow, *, merged: bool) -> tuple[str, str]:
        """stdout and stderr of the newest try, as paths."""
        folder, name = self.folder(row), step_file(step.round, step.node)
        out = str(try_file(folder, name, step.tries, "out"))
        return out, out if merged else str(try_file(folder, name, step.tries, "err"))

    def try_files(self, row: RunRow, step: StepRow, stream: str) -> list[Path]:
        """One stream of every try of the step's present round, in order."""
        folder, name = self.folder(row), step_file(step.round, step.node)
        return [try_file(folder, name, number, "err" if stream == "stderr" else "out") for number in range(1, step.tries + 1)]


async def step_log(files: RunFiles, row: RunRow, graph: Graph, step: StepRow | None, stream: str, window: Window) -> wire.run.Log:
    """Lines of one stream of a step; all its tries are one text. Empty for a step that never ran."""
    if step is None or not step.tries:
        return wire.run.Log("", 0, 0, False)
    node = graph.nodes[step.no]
    kept_as = stream_of(graph, node, stream)
    paths = files.try_files(row, step, kept_as)
    if redirection(node, kept_as):
        paths = targets_of(paths)
    return await asyncio.to_thread(lines_of, paths, window)


def stream_of(graph: Graph, node: Node, stream: str) -> str:
    """The stream in whose files `stream` of a step is."""
    return "stdout" if graph.merges(node) else stream


def redirection(node: Node, stream: str) -> str:
    """The file a step itself names for a stream, as written in the DAG."""
    return node.stdout if stream == "stdout" else node.stderr


def targets_of(links: Iterable[Path]) -> list[Path]:
    """Where tries wrote what a step sends to files of its own: each try left a link, mostly to one file."""
    return [Path(found) for found in dict.fromkeys(os.path.realpath(link) for link in links if link.is_symlink())]


def lines_of(paths: Sequence[Path], window: Window) -> wire.run.Log:
    try:
        wanted = {name: getattr(window, name) or None for name in WINDOW}
        page = read_lines(paths, **wanted)
    except OSError as error:
        raise NotFound(f"the log {paths[0]} cannot be read: {error.strerror or error}") from error
    return wire.run.Log(page.content, page.line_count, page.total_lines, page.has_more, page.is_estimate)


def select(lines: Sequence[str], window: Window) -> wire.run.Log:
    """The lines asked for, by the rules of step logs."""
    total = len(lines)
    start = 0
    if window.tail:
        start, count = max(0, total - window.tail), window.tail
    elif window.head:
        count = window.head
    else:
        start, count = max(0, (window.offset or 1) - 1), window.limit or LINES_DEFAULT
    chosen = lines[start : start + count]
    more = start + len(chosen) < total or (start > 0 and bool(window.tail))
    return wire.run.Log("\n".join(chosen), len(chosen), total, more)
