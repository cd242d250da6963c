"""The log files of tries: where they lie, and how their lines and bytes are read.

Reading keeps memory flat whatever the file is: it is gone through in chunks, a line is cut at `LINE_MAX_BYTES` and a page at
`PAGE_MAX_BYTES`. Calls block (disk); an event loop hands them to a thread.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

Stream = Literal["out", "err"]

CHUNK_BYTES = 256 * 1024
LINE_MAX_BYTES = 64 * 1024
"""Dagu 1.30 keeps at most 64 KB of a line."""
PAGE_MAX_BYTES = 8 * 1024 * 1024
LINES_DEFAULT = 1000
LINES_MAX = 10_000
NAME_MAX = 100

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


class LogPage(msgspec.Struct, frozen=True):
    """Some lines of a log. `total_lines` is counted; `has_more` = there are lines that are not in this page."""

    content: str
    line_count: int
    total_lines: int
    has_more: bool
    is_estimate: bool = False


def run_folder(logs: Path, run: str, started_at: int) -> Path:
    """`<logs>/<yyyy>/<mm>/<dd>/<run>`: the day (UTC) on which the run was made, `started_at` in microseconds."""
    day = datetime.fromtimestamp(started_at / 1_000_000, UTC)
    return logs / f"{day:%Y}" / f"{day:%m}" / f"{day:%d}" / safe_name(run)


def try_file(folder: Path, step: str, try_no: int, stream: Stream) -> Path:
    """The file of one output stream of one try, `<step>.<try>.out`, in the folder of its run."""
    return folder / f"{safe_name(step)}.{try_no}.{stream}"


def try_files(folder: Path, step: str, stream: Stream) -> list[Path]:
    """The files of all tries of a step, in their order; empty when nothing was written yet."""
    name = safe_name(step)
    shape = re.compile(re.escape(name) + r"\.(\d+)\." + stream)
    try:
        found = [(int(match[1]), path) for path in folder.iterdir() if (match := shape.fullmatch(path.name))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for _, path in sorted(found)]


def safe_name(name: str) -> str:
    """The name as part of a path: letters, digits, `_` and `-` stay, the rest is written as its code; names that would be too
    long, or empty, end in a hash. Different names stay different."""
    safe = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02x}%" if ord(match[0]) > 255 else f"%{ord(match[0]):02x}", name)
    if 0 < len(safe) <= NAME_MAX:
        return safe
    return f"{safe[: NAME_MAX - 40]}%{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def read_lines(
    files: Sequence[Path],
    *,
    tail: int | None = None,
    head: int | None = None,
    offset: int | None = None,
    limit: int | None = None,
) -> LogPage:
    """Lines of the files as if they were one (a file's last line ends with the file). `tail` wins over `head`, `head` over
    `offset` (from 1) and `limit`; without any of them the first 1000. Never more than 10,000 lines. Bytes that are no UTF-8 are
    replaced. (Dagu 1.30: GET …/log; its totals of large files are estimates, ours are counted.)"""
    sizes = [(path, path.stat().st_size) for path in files if path.is_file()]
    total = sum(chunk.count(b"\n") for chunk in _chunks(sizes))
    if tail is not None and tail > 0:
        wanted = min(tail, LINES_MAX)
        start = max(0, total - wanted)
    elif head is not None and head > 0:
        wanted, start = min(head, LINES_MAX), 0
    else:
        wanted = min(limit, LINES_MAX) if limit is not None and limit > 0 else LINES_DEFAULT
        start = max(0, (offset or 1) - 1)
    lines = _collect(sizes, start, wanted) if start < total else []
    more = start + len(lines) < total or (start > 0 and tail is not None)
    return LogPage("\n".join(lines), len(lines), total, more)


def read_from(path: Path, offset: int, max_bytes: int) -> tuple[bytes, int]:
    """Bytes from `offset` on, and the offset to go on from; nothing when the file has not grown or is not there yet."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            found = file.read(max_bytes)
    except FileNotFoundError:
        return b"", offset
    return found, offset + len(found)


def _chunks(sizes: Sequence[tuple[Path, int]]) -> Iterator[bytes]:
    """The files' bytes up to the sizes first seen, a line end added where a file has none."""
    for path, left in sizes:
        last = b"\n"
        with open(path, "rb") as file:
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                last = chunk[-1:]
                yield chunk
        if last != b"\n":
            yield b"\n"


def _collect(sizes: Sequence[tuple[Path, int]], start: int, wanted: int) -> list[str]:
    """`wanted` lines after the first `start`."""
    lines: list[str] = []
    page_bytes = 0
    line = _Line()
    for chunk in _chunks(sizes):
        if start:
            ends = chunk.count(b"\n")
            if ends < start:
                start -= ends
                continue
            chunk = chunk.split(b"\n", start)[start]
            start = 0
        parts = chunk.split(b"\n")
        for part in parts[:-1]:
            line.add(part)
            text = line.end()
            page_bytes += len(text) + 1
            if lines and page_bytes > PAGE_MAX_BYTES:
                return lines
            lines.append(text)
            if len(lines) == wanted:
                return lines
        line.add(parts[-1])
    return lines


class _Line:
    """One line as it comes in pieces; what is over the limit is only counted."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._cut = 0

    def add(self, part: bytes) -> None:
        room = LINE_MAX_BYTES - len(self._kept)
        self._kept += part[:room]
        self._cut += max(0, len(part) - room)

    def end(self) -> str:
        kept, cut = bytes(self._kept), self._cut
        self._kept.clear()
        self._cut = 0
        if cut:
            return f"{kept.decode('utf-8', 'replace')}… [{cut:,} bytes more in this line]"
        return kept.removesuffix(b"\r").decode("utf-8", "replace")
