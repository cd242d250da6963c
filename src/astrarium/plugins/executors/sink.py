"""The two ways of output to a log file: straight, or through a pump that takes secrets out.

Straight is the common case and costs nothing: the process has the file itself. A cap on a straight file is kept by looking at
its size a few times a second and cutting what is beyond (the process appends, so it just goes on at the new end): what is
kept is exact, what is briefly on disk beyond it is what the process can write between two looks. The pump is for tries with
declared secrets; there cap and redaction are exact, and its memory is one chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import stat
from pathlib import Path
from typing import Protocol

from ...runs.work.redact import Redactor

CHUNK_BYTES = 64 * 1024
CUT_EVERY_S = 0.25


def cut_line(cap_bytes: int) -> bytes:
    return f"\n[astrarium: output cut here, the log keeps at most {cap_bytes} bytes]\n".encode()


def open_log(path: Path) -> int:
    """A descriptor that appends to `path`; missing folders are made (logs are private by their folder, a file a user names is
    as readable as they like). A pipe nobody reads is refused instead of waited for."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, flags, 0o666)


class Sink(Protocol):
    """One stream of a process. `fd` is what the child gets; the parent closes it by `started` once the child has it."""

    fd: int

    def started(self) -> None: ...
    def look(self) -> None: ...
    def finish(self) -> None: ...


class FileSink:
    """The child writes to the file itself."""

    def __init__(self, path: Path, cap_bytes: int) -> None:
        self._path = path
        self.fd = open_log(path)
        self._cap = cap_bytes
        self._keep = 0
        self._was_cut = False
        facts = os.fstat(self.fd)
        if stat.S_ISREG(facts.st_mode):
            self._keep = max(cap_bytes, facts.st_size) if cap_bytes else 0
        else:
            os.set_blocking(self.fd, True)

    def started(self) -> None:
        os.close(self.fd)

    def look(self) -> None:
        """Cut the file if it outgrew its cap."""
        if not self._keep:
            return
        with contextlib.suppress(OSError):
            if os.stat(self._path).st_size > self._keep:
                os.truncate(self._path, self._keep)
                self._was_cut = True

    def finish(self) -> None:
        self.look()
        if self._was_cut:
            with contextlib.suppress(OSError), self._path.open("ab") as file:
                file.write(cut_line(self._cap))


class PumpSink:
    """The child writes to a pipe; the loop takes secrets out and appends the rest to the file."""

    def __init__(self, path: Path, cap_bytes: int, redact: tuple[str, ...], copy: Path | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._file = open_log(path)
        self._copy = open_log(copy) if copy is not None else -1
        size = os.fstat(self._file).st_size
        self._room = max(0, cap_bytes - size) if cap_bytes else -1
        self._cap = cap_bytes
        self._was_cut = False
        self._redactor = Redactor(redact)
        self._pipe, self.fd = os.pipe()
        os.set_blocking(self._pipe, False)
        self._open = True

    def started(self) -> None:
        os.close(self.fd)
        self._loop.add_reader(self._pipe, self._readable)

    def look(self) -> None:
        pass

    def finish(self) -> None:
        """Take what the dead left in the pipe, no more: one who escaped the group and still writes is not waited for."""
        if not self._open:
            return
        left = fcntl.fcntl(self._pipe, fcntl.F_GETPIPE_SZ) if hasattr(fcntl, "F_GETPIPE_SZ") else CHUNK_BYTES
        while self._open and left > 0:
            taken = self._take()
            if not taken:
                break
            left -= taken
        self._close()

    def _readable(self) -> None:
        self._take()

    def _take(self) -> int:
        try:
            data = os.read(self._pipe, CHUNK_BYTES)
        except BlockingIOError:
            return 0
        if data:
            self._keep(self._redactor.feed(data))
        else:
            self._close()
        return len(data)

    def _keep(self, data: bytes) -> None:
        if self._room >= 0 and len(data) > self._room:
            data = data[: self._room]
            if not self._was_cut:
                self._was_cut = True
                data += cut_line(self._cap)
            self._room = 0
        elif self._room >= 0:
            self._room -= len(data)
        try:
            for file in (self._file, self._copy):
                view = memoryview(data) if file >= 0 else memoryview(b"")
                while view:
                    view = view[os.write(file, view) :]
        except OSError:
            # A full disk: the writer meets a closed pipe, as it would meet ENOSPC on the file itself.
            self._drop()

    def _drop(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)

    def _close(self) -> None:
        if self._file < 0:
            return
        self._keep(self._redactor.flush())
        self._drop()
        os.close(self._file)
        self._file = -1
        if self._copy >= 0:
            os.close(self._copy)
            self._copy = -1


class SizeWatch:
    """Looks at the sinks of everything that runs, a few times a second while anything runs."""

    def __init__(self) -> None:
        self._sinks: set[Sink] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, sinks: tuple[Sink, ...]) -> None:
        self._sinks.update(sinks)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CUT_EVERY_S, self._look)

    def remove(self, sinks: tuple[Sink, ...]) -> None:
        """Finish these: their writers are gone."""
        self._sinks.difference_update(sinks)
        for sink in sinks:
            sink.finish()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        for sink in self._sinks:
            sink.look()
        self._timer = asyncio.get_running_loop().call_later(CUT_EVERY_S, self._look) if self._sinks else None


def open_sink(path: Path, cap_bytes: int, redact: tuple[str, ...], copy: Path | None = None) -> Sink:
    """A straight file unless secrets have to be taken out, or a copy is wanted."""
    return PumpSink(path, cap_bytes, redact, copy) if redact or copy is not None else FileSink(path, cap_bytes)


def open_sinks(
    stdout: Path, stderr: Path | None, cap_bytes: int, redact: tuple[str, ...], copy: Path | None = None
) -> tuple[Sink, Sink | None]:
    """Both streams' sinks; None for stderr = same as stdout, unless `copy` gets stdout alone. Nothing stays open when one fails."""
    out = open_sink(stdout, cap_bytes, redact, copy)
    if stderr is None or stderr == stdout:
        if copy is None:
            return out, None
        stderr = stdout
    try:
        return out, open_sink(stderr, cap_bytes, redact)
    except OSError:
        abandon(out)
        raise


def abandon(*sinks: Sink | None) -> None:
    """Close sinks whose process never started."""
    for sink in sinks:
        if sink is not None:
            sink.started()
            sink.finish()
