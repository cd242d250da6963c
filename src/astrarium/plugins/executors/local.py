"""Processes of this machine: one session and process group each, output to files, nothing left behind.

Started by `subprocess.Popen` (its vfork path does not depend on the size of this process), never by the loop's own subprocess
calls, which fork under uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, ClassVar

from ...runs.ports import ProcessSpec
from .group import ProcessGroup
from .journal import SERVER_COOKIE, TRY_COOKIE, SpawnJournal, clock_s, kill_holders, kill_leftovers
from .sink import Sink, SizeWatch, abandon, open_sinks

_REASONS = {
    errno.EACCES: "is not executable",
    errno.ENOEXEC: "is not a program: a script needs a first line like #!/bin/sh",
    errno.E2BIG: "cannot start: arguments and environment are too long for this system",
    errno.EAGAIN: "cannot start: this user has too many processes",
    errno.ENOMEM: "cannot start: not enough memory",
    errno.ENOTDIR: "is not a folder",
}


def clear_error(error: OSError, spec: ProcessSpec) -> OSError:
    """The same class of error, saying what is missing and where it was looked for."""
    number = error.errno or errno.EIO
    if error.filename is not None and os.fspath(error.filename) == os.fspath(spec.cwd):
        reason = "does not exist" if number == errno.ENOENT else _REASONS.get(number, os.strerror(number))
        return type(error)(number, f"working folder {reason}", str(spec.cwd))
    program = spec.argv[0]
    if number != errno.ENOENT:
        return type(error)(number, f"program {_REASONS.get(number, os.strerror(number))}", program)
    place = f"in {spec.cwd}" if "/" in program else f"in PATH={spec.env.get('PATH', os.defpath)}"
    return type(error)(number, f"program not found {place}", program)


def find_program(program: str, path: str) -> str | None:
    """Where the program lies in `path`; None = let the system search (a path of its own, or nothing found).

    Asking here saves the new process a failing exec for each folder, which it pays while this one stands still."""
    if "/" in program:
        return None
    for folder in path.split(":"):
        found = f"{folder}/{program}"
        if folder.startswith("/") and os.access(found, os.X_OK) and os.path.isfile(found):
            return found
    return None


class LocalExecutor:
    """`server` is this server's id, put into each child's environment; `journal` remembers spawns for the next server.

    A child's environment is exactly `ProcessSpec.env` plus the two cookies `ASTRARIUM_SERVER` and `ASTRARIUM_TRY`."""

    kind: ClassVar[str] = "local"

    def __init__(self, *, server: str = "", journal: SpawnJournal | None = None) -> None:
        self._server = server
        self._journal = journal
        self._live: set[ProcessGroup] = set()
        self._sizes = SizeWatch()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._sweep_tags: set[str] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def open(cls, server: str, folder: Path) -> LocalExecutor:
        return cls(server=server, journal=SpawnJournal(folder / server))

    @classmethod
    def recover(cls, servers: Collection[str], folder: Path) -> int:
        killed = 0
        for server in servers:
            journal = folder / server
            if journal.exists():
                killed += kill_leftovers(journal, [server])
        return killed

    async def start(self, spec: ProcessSpec) -> ProcessGroup:
        """Start a process; `OSError` (of the fitting class) when program, folder or log file cannot be used."""
        return self.spawn(spec)

    def spawn(self, spec: ProcessSpec, pass_fds: tuple[int, ...] = ()) -> ProcessGroup:
        """`start` for callers in the loop that hand descriptors to the child."""
        if self._closed:
            raise OSError(errno.ECANCELED, "the executor is closed: the server is stopping", spec.argv[0])
        out, err = open_sinks(spec.stdout, spec.stderr, spec.max_log_bytes, spec.redact, spec.copy)
        start_s = clock_s()
        try:
            popen = self._popen(spec, out.fd, err.fd if err else out.fd, pass_fds)
        except OSError as error:
            abandon(out, err)
            raise clear_error(error, spec) from None
        except ValueError as error:
            abandon(out, err)
            raise OSError(errno.EINVAL, f"cannot start: {error}", spec.argv[0]) from None
        sinks = (out,) if err is None else (out, err)
        for sink in sinks:
            sink.started()
        return self._watch(popen, spec, sinks, start_s)

    def _popen(self, spec: ProcessSpec, out: int, err: int, pass_fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
        env = {**spec.env, **self.cookies(spec.tag)}
        source: IO[bytes] | contextlib.nullcontext[int] = contextlib.nullcontext(self._null)
        if spec.stdin:
            source = _as_file(spec.stdin)
        with source as stdin:
            return subprocess.Popen(
                spec.argv,
                executable=find_program(spec.argv[0], spec.env.get("PATH", os.defpath)),
                cwd=spec.cwd,
                env=env,
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
                close_fds=True,
                pass_fds=pass_fds,
            )

    def _watch(self, popen: subprocess.Popen[bytes], spec: ProcessSpec, sinks: tuple[Sink, ...], start_s: float) -> ProcessGroup:
        if self._journal is not None:
            self._journal.spawned(popen.pid, spec.tag, start_s)

        def finished() -> None:
            self._live.discard(group)
            self._sizes.remove(sinks)
            if self._journal is not None:
                self._journal.ended(popen.pid)

        try:
            group = ProcessGroup(popen, finished, lambda: self.sweep(spec.tag))
        except OSError:
            os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()
            for sink in sinks:
                sink.finish()
            raise
        self._live.add(group)
        self._sizes.add(sinks)
        return group

    def cookies(self, tag: str) -> dict[str, str]:
        """What a child's environment gets, so that it is found again wherever it goes."""
        return {TRY_COOKIE: tag, SERVER_COOKIE: self._server} if self._server else {TRY_COOKIE: tag}

    async def sweep(self, tag: str) -> None:
        """Kill those of a stopped try who left its session; stops of the same moment share one look at the process table."""
        if not tag:
            return
        self._sweep_tags.add(tag)
        while tag in self._sweep_tags:
            if self._sweeping is None or self._sweeping.done():
                self._sweeping = asyncio.create_task(self._sweep_once())
            await asyncio.shield(self._sweeping)

    async def _sweep_once(self) -> None:
        tags = frozenset(self._sweep_tags)
        await asyncio.to_thread(kill_holders, TRY_COOKIE, tags)
        self._sweep_tags -= tags

    async def close(self, grace_s: float) -> None:
        """TERM to every group, KILL after the grace, all reaped; then whoever else carries this server's cookie."""
        self._closed = True
        while self._live:
            groups = list(self._live)
            for group in groups:
                await group.stop(signal.SIGTERM, grace_s)
            await asyncio.gather(*(group.wait() for group in groups))
        if self._server:
            await asyncio.to_thread(kill_holders, SERVER_COOKIE, (self._server,))
        self._sizes.close()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._null >= 0:
            os.close(self._null)
            self._null = -1


def _as_file(data: bytes) -> IO[bytes]:
    """Input as an unnamed file: any size, and nobody has to feed a pipe."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.seek(0)
    return file
