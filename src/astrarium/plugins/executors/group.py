"""One live process group: its leader is watched by pidfd, stopped as a group, and reaped only after its leftovers are dead.

The leader stays a zombie until then, so its number cannot be given to a stranger while we still signal the group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable

from ...runs.ports import Exit
from .journal import living_groups

SIGNAL_AGAIN_S = 5.0
"""Dagu 1.30: the stop signal is repeated this often until the grace is over."""
_LOOK_AGAIN_S = 0.02
_GONE_WITHIN_S = 5.0


def watch_end(popen: subprocess.Popen[bytes], ended: Callable[[], None]) -> None:
    """Call `ended` in the running loop once the process is over, without reaping it where the platform allows that."""
    loop = asyncio.get_running_loop()
    if hasattr(os, "pidfd_open"):
        pidfd = os.pidfd_open(popen.pid)

        def ready() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            ended()

        loop.add_reader(pidfd, ready)
        return

    def wait() -> None:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
        else:
            popen.wait()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended)

    threading.Thread(target=wait, daemon=True, name=f"wait-{popen.pid}").start()


def exit_of(returncode: int) -> Exit:
    """As a shell reports it: 128 + signal."""
    return Exit(128 - returncode, -returncode) if returncode < 0 else Exit(returncode)


class ProcessGroup:
    """A started process (leader of its own session) and all that stays in its group.

    `finished` is called once, when nothing of the group lives; `sweep` then runs before `wait` resolves if the group had been
    stopped (it finds those who left the session)."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        finished: Callable[[], None],
        sweep: Callable[[], Awaitable[None]],
    ) -> None:
        self.pid = popen.pid
        self._popen = popen
        self._finished = finished
        self._sweep = sweep
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[Exit] = self._loop.create_future()
        self._kill_at = 0.0
        self._leader_gone = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ending: asyncio.Task[None] | None = None
        watch_end(popen, self._leader_ended)

    @property
    def alive(self) -> bool:
        """False once the leader is known to have ended."""
        return not self._leader_gone

    async def wait(self) -> Exit:
        return await asyncio.shield(self._end)

    async def stop(self, signum: int, grace_s: float) -> None:
        """Signal the group at once, again each 5 s, KILL after the grace. A later stop may only shorten the grace."""
        if self._end.done():
            return
        kill_at = self._loop.time() + max(grace_s, 0.0)
        self._kill_at = min(self._kill_at or kill_at, kill_at)
        self._set("kill", self._kill_at, self._signal, signal.SIGKILL)
        if grace_s > 0:
            self._signal_again(signum)
        else:
            self._signal(signal.SIGKILL)

    def _set(self, name: str, when: float, call: Callable[[int], None], signum: int) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._loop.call_at(when, call, signum)

    def _signal_again(self, signum: int) -> None:
        self._signal(signum)
        self._set("again", self._loop.time() + SIGNAL_AGAIN_S, self._signal_again, signum)

    def _signal(self, signum: int) -> None:
        if self._popen.returncode is None:
            # macOS answers EPERM for a group of zombies.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signum)

    def _leader_ended(self) -> None:
        self._leader_gone = True
        if self._kill_at:
            self._ending = self._loop.create_task(self._end_stopped())
            return
        self._signal(signal.SIGKILL)
        self._popen.poll()
        if self._has_members():
            self._ending = self._loop.create_task(self._outlast())
        else:
            self._finish()

    def _has_members(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    async def _lives(self) -> bool:
        """A look at the process table: has the group a member that is not a zombie?"""
        return bool(await asyncio.to_thread(living_groups, (self.pid,)))

    async def _end_stopped(self) -> None:
        """What the leader leaves after a stop keeps the rest of the grace for its own clean-up."""
        while await self._lives():
            if self._loop.time() >= self._kill_at:
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        self._signal(signal.SIGKILL)
        self._popen.poll()
        await self._outlast()

    async def _outlast(self) -> None:
        """Killed processes need a moment to be gone; zombies of a container without init are not waited for, and one that
        hangs in the kernel not for ever."""
        try:
            give_up_at = self._loop.time() + _GONE_WITHIN_S
            while self._has_members() and await self._lives():
                if self._loop.time() > give_up_at:
                    break
                await asyncio.sleep(_LOOK_AGAIN_S)
            if self._kill_at:
                await self._sweep()
        finally:
            self._finish()

    def _finish(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        try:
            self._finished()
        finally:
            if not self._end.done():
                self._end.set_result(exit_of(self._popen.wait()))
