"""The log files of tries: where they lie, how their lines and bytes are read, and how they are followed while they grow.

Reading keeps memory flat whatever the file is: it is gone through in chunks, a line is cut at `LINE_MAX_BYTES` and a page at
`PAGE_MAX_BYTES`. Calls block (disk); an event loop hands them to a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import logging
import os
import re
import struct
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
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
RUN_MARK = ".astrarium-run"
"""File with a run's id in a folder of its logs that lies elsewhere (`logDir`), so that it is known as ours when it is to go."""

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
    return logs / run_place(run, started_at)


def run_place(run: str, started_at: int) -> str:
    """`run_folder` as a text relative to the logs."""
    return f"{_day(started_at // 86_400_000_000)}/{safe_name(run)}"


@lru_cache(maxsize=1024)
def _day(number: int) -> str:
    """`<yyyy>/<mm>/<dd>` of a day, counted from 1970."""
    return f"{datetime.fromtimestamp(number * 86_400, UTC):%Y/%m/%d}"


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


# -- following --------------------------------------------------------------------------------------------------------
# A file that grows is not looked at: the system tells when it was written to (inotify), and nothing happens meanwhile. One that is
# not there yet is waited for in the nearest folder that is. Where the system has no inotify, or gives no more watches, the file is
# looked at a few times a second instead. (`watchfiles`, which the DAG folder uses, gathers changes for at least tens of
# milliseconds in a thread for each watch: right for edits, too slow and too dear for many followed logs.)

log = logging.getLogger("astrarium.store")

LOOK_S = 0.1
"""How often a file is looked at where nothing tells of changes."""
READ_BYTES = 64 * 1024

IN_MODIFY, IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF, IN_MOVE_SELF = 0x2, 0x80, 0x100, 0x400, 0x800
IN_Q_OVERFLOW, IN_IGNORED = 0x4000, 0x8000
ON_FILE = IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF
ON_FOLDER = IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF
"""Of a folder only what comes into it is news: a watch that tells of each write to the database beside what is waited for costs every
commit some microseconds."""
_HEAD = struct.Struct("iIII")


async def appears(folder: Path) -> None:
    """Wait until the folder is there."""
    files, changed = FollowedFiles(), asyncio.Event()
    try:
        with files.follow(folder, changed) as followed:
            while not folder.is_dir():
                changed.clear()
                followed.arm()
                if not folder.is_dir():
                    await wait_for_news(changed, LOOK_S if followed.blind else None)
    finally:
        files.close()


async def wait_for_news(changed: asyncio.Event, timeout_s: float | None) -> None:
    """Until something changed, or it is time to look all the same."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), timeout_s)


class Followed:
    """One file, or folder, somebody follows. `changed` is set with every change of the file, and when something comes into the folder.
    Clear it, `arm`, read all there is, then wait for it: no write in between is missed. `blind`: nothing tells of changes, look again
    after `LOOK_S`."""

    def __init__(self, files: FollowedFiles, path: Path, changed: asyncio.Event) -> None:
        self.path = path
        self.changed = changed
        self._files = files
        self._watch = 0
        self._on_file = False

    @property
    def blind(self) -> bool:
        return not self._watch

    def arm(self) -> None:
        """See to it that the file itself is watched, or the nearest folder that exists."""
        if not self._on_file:
            self.let_go()
            self._watch, self._on_file = self._files.watch(self)

    def tell(self, gone: bool) -> None:
        """It changed; `gone` = what was watched is not there any more."""
        if gone:
            self._watch, self._on_file = 0, False
        self.changed.set()

    def let_go(self) -> None:
        if self._watch:
            self._files.unwatch(self._watch, self)
        self._watch, self._on_file = 0, False


class FollowedFiles:
    """All files followed by one event loop: one descriptor of the system, however many there are."""

    def __init__(self) -> None:
        self._fd = -1
        self._libc: ctypes.CDLL | None = None
        self._followers: dict[int, set[Followed]] = {}

    @contextlib.contextmanager
    def follow(self, path: Path, changed: asyncio.Event) -> Iterator[Followed]:
        """Follow a file, which need not exist."""
        followed = Followed(self, path, changed)
        try:
            yield followed
        finally:
            followed.let_go()

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    # -- the system's side --------------------------------------------------------------------------------------------

    def watch(self, followed: Followed) -> tuple[int, bool]:
        """Watch the file, or the nearest folder that exists → (watch, whether it is the file); 0 = nothing can be watched."""
        if not self._opened():
            return 0, False
        place = followed.path
        while True:
            number = self._add(place)
            if number > 0:
                self._followers.setdefault(number, set()).add(followed)
                # What was made between looking for it and watching the folder is found by looking again.
                if place != followed.path and _nearest(followed.path) != place:
                    self.unwatch(number, followed)
                    place = followed.path
                    continue
                return number, place == followed.path
            if ctypes.get_errno() not in (2, 20) or place == place.parent:  # ENOENT, ENOTDIR
                log.info("%s cannot be watched (%s): it is looked at instead", place, os.strerror(ctypes.get_errno()))
                return 0, False
            place = place.parent

    def unwatch(self, number: int, followed: Followed) -> None:
        followers = self._followers.get(number)
        if followers is None:
            return
        followers.discard(followed)
        if not followers:
            del self._followers[number]
            self._forget(number)

    def _forget(self, number: int) -> None:
        """A watch the system may have ended by itself already."""
        if self._libc is not None and self._fd >= 0:
            self._libc.inotify_rm_watch(self._fd, number)

    def _opened(self) -> bool:
        if self._fd < 0 and self._libc is None and sys.platform.startswith("linux"):
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd >= 0:
                asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return self._fd >= 0

    def _add(self, place: Path) -> int:
        assert self._libc is not None
        mask = ON_FOLDER if place.is_dir() else ON_FILE
        return int(self._libc.inotify_add_watch(self._fd, os.fsencode(place), ctypes.c_uint32(mask)))

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        told: dict[int, bool] = {}
        while at < len(data):
            number, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size + length
            gone = bool(mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF))
            for one in (number,) if not mask & IN_Q_OVERFLOW else tuple(self._followers):
                told[one] = told.get(one, False) or gone
        for number, gone in told.items():
            followers = self._followers.get(number, set())
            if gone:
                self._followers.pop(number, None)
                self._forget(number)
            for followed in tuple(followers):
                followed.tell(gone)


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
