"""Who was started, written down so that the next server can kill what a dead one left.

Two traces, because each alone has a gap: a line per spawn (survives `env -i`), and a cookie in the child's environment
(survives a kill between spawn and line, and follows a process which left its session). A pid is killed only if its start time
and the boot id still fit.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...lazy import library

if TYPE_CHECKING:
    import psutil
else:
    psutil = library("psutil")


TRY_COOKIE = "ASTRARIUM_TRY"
SERVER_COOKIE = "ASTRARIUM_SERVER"
_COMPACT_LINES = 4096
_GONE_WITHIN_S = 5.0


@functools.cache
def boot_id() -> str:
    """Differs after each boot of the machine."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)
_SAME_START_WITHIN_S = 1.0
"""How far the noted start may be from the true one. Numbers of processes do not come round again within a second."""


def clock_s() -> float:
    """The clock start times are told by: seconds since boot on Linux, since the epoch elsewhere."""
    return time.time() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


def started_s(pid: int) -> float | None:
    """When the process started by `clock_s`; None if there is none."""
    if _BOOT_CLOCK is not None:
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        return int(stat.rsplit(b")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


class SpawnJournal:
    """Append-only, one line per spawn and one per end; rewritten with the living ones now and then. `server` is the cookie
    value of this server's children, noted so that the next server knows what to look for."""

    def __init__(self, path: Path, server: str = "") -> None:
        self.path = path
        self._head = f"= {server}\n".encode() if server else b""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._live: dict[int, bytes] = {}
        self._lines = 0
        self._fd = self._open()
        self._write(self._head)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def spawned(self, pid: int, tag: str, start_s: float) -> None:
        """`start_s` by `clock_s`, taken just before the spawn: asking the kernel would wait for the new program to be loaded."""
        line = f"+ {pid} {start_s:.2f} {boot_id()} {tag}\n".encode()
        self._live[pid] = line
        self._write(line)

    def ended(self, pid: int) -> None:
        if self._live.pop(pid, None) is not None:
            self._write(f"- {pid}\n".encode())

    def _write(self, line: bytes) -> None:
        # A full disk must not fail a step here: the cookie still finds what a dead server left.
        with contextlib.suppress(OSError):
            os.write(self._fd, line)
            self._lines += 1
            if self._lines > _COMPACT_LINES + 2 * len(self._live):
                self._compact()

    def _compact(self) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.write_bytes(b"".join([self._head, *self._live.values()]))
        os.replace(fresh, self.path)
        os.close(self._fd)
        self._fd = self._open()
        self._lines = 0

    def close(self) -> None:
        os.close(self._fd)
        if not self._live:
            self.path.unlink(missing_ok=True)


def holders(wanted: Callable[[dict[str, str]], bool]) -> Iterator[int]:
    """Living processes (never this one) whose first environment fits. Unreadable ones belong to others."""
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        try:
            process = psutil.Process(pid)
            if wanted(process.environ()) and process.status() != psutil.STATUS_ZOMBIE:
                yield pid
        except (psutil.Error, OSError):
            continue


def kill_holders(cookie: str, values: Collection[str]) -> int:
    """KILL every process that carries one of the cookie's values, and look again until none is found; how many were killed."""
    wanted = frozenset(values)
    killed: set[int] = set()
    deadline = time.monotonic() + _GONE_WITHIN_S
    while time.monotonic() < deadline:
        found = list(holders(lambda env: env.get(cookie) in wanted))
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.005)
    return len(killed)


def living_groups(groups: Collection[int]) -> set[int]:
    """Which of these process groups have a member that is not a zombie."""
    living: set[int] = set()
    for pid in psutil.pids():
        try:
            group = os.getpgid(pid)
            if group in groups and group not in living and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                living.add(group)
        except (psutil.Error, OSError):
            continue
    return living


def kill_leftovers(journal_path: Path, server_ids: Collection[str] = ()) -> int:
    """At start, before a new journal is opened: kill the process groups which dead servers left, wait until they are gone,
    and remove the old journal.

    `server_ids` are cookie values of dead servers beside those noted in the journal. Returns how many groups and strays were
    killed. Blocks (a few ms as a rule, at most a few seconds): call it before the loop runs, or in a thread."""
    leaders, servers = _read(journal_path)
    killed = set()
    for pid in leaders:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
            killed.add(pid)
    deadline = time.monotonic() + _GONE_WITHIN_S
    while living_groups(killed) and time.monotonic() < deadline:
        time.sleep(0.005)
    servers |= set(server_ids)
    strays = kill_holders(SERVER_COOKIE, servers) if servers else 0
    journal_path.unlink(missing_ok=True)
    return len(killed) + strays


def _read(journal_path: Path) -> tuple[list[int], set[str]]:
    """Leaders which have no end and are still the same process, and the servers that wrote here."""
    try:
        lines = journal_path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return [], set()
    spawns: dict[int, tuple[str, str]] = {}
    servers: set[str] = set()
    for line in lines:
        match line.split(" "):
            case ["=", server]:
                servers.add(server)
            case ["+", pid, start, boot, *_] if pid.isdigit():
                spawns[int(pid)] = (start, boot)
            case ["-", pid] if pid.isdigit():
                spawns.pop(int(pid), None)
    return [pid for pid, (start, boot) in spawns.items() if boot == boot_id() and _is_same(pid, start)], servers


def _is_same(pid: int, noted: str) -> bool:
    actual = started_s(pid)
    try:
        return actual is not None and abs(actual - float(noted)) <= _SAME_START_WITHIN_S and os.getpgid(pid) == pid
    except (ValueError, ProcessLookupError):
        return False
