"""The SSH connection of a step (asyncssh): let in or told why not, commands whose output goes to the try's log, signals."""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import asyncssh

from ...runs.ports import Exit, StepFailed, TryContext
from .ending import Ending
from .remote import RemoteCommand, RemoteHost
from .stream import LogStream, LogStreams

CHUNK_BYTES = 64 * 1024
SIGNAL_WITHIN_S = 5.0
KEEPALIVE_S = 15
CLOSE_WITHIN_S = 2.0
_KILL_BESIDE = (
    "ps -A -o pid,ppid,pgid | awk -v p=$PPID -v me=$$ '$2 == p && $3 != me {{print $3}}' | "
    'while read group; do kill -s {name} -- "-$group"; done'
)
"""Signals the other sessions of a connection, each a process group: they have one parent, the server's process for it."""
_USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_dsa")


@contextlib.asynccontextmanager
async def connect(host: RemoteHost) -> AsyncIterator[Session]:
    """A connection, closed at the end. `StepFailed` says why there is none."""
    try:
        async with asyncio.timeout(host.timeout_s):
            connection = await asyncssh.connect(host.host, host.port, **_options(host))
    except TimeoutError:
        raise StepFailed(f"{host.shown}: no connection within {host.timeout_s:g} s") from None
    except asyncssh.HostKeyNotVerifiable as error:
        raise StepFailed(_unknown_host(host, error.reason)) from None
    except asyncssh.PermissionDenied:
        raise StepFailed(f"{host.shown}: permission denied with {_credentials(host)}; check user, key and password") from None
    except asyncssh.Error as error:
        raise StepFailed(f"{host.shown}: {error.reason or type(error).__name__}") from None
    except OSError as error:
        raise StepFailed(f"{host.shown}: cannot connect: {error.strerror or error}") from None
    try:
        yield Session(connection, host)
    finally:
        connection.close()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await connection.wait_closed()
        except TimeoutError:
            connection.abort()


def _options(host: RemoteHost) -> dict[str, Any]:
    """Nothing but what the step says: no ssh_config of this machine's user is read."""
    options: dict[str, Any] = {
        "config": None,
        "username": host.user,
        "known_hosts": _known_hosts(host) if host.strict else None,
        "client_keys": _keys(host),
        "agent_path": None,
        "keepalive_interval": KEEPALIVE_S,
        "login_timeout": host.timeout_s,
    }
    return options | {"password": host.password} if host.password else options


def _known_hosts(host: RemoteHost) -> str:
    path = Path(host.known_hosts).expanduser()
    if not path.is_file():
        raise StepFailed(_unknown_host(host, f"there is no file {path}"))
    return str(path)


def _unknown_host(host: RemoteHost, reason: str) -> str:
    port = f"-p {host.port} " if host.port != 22 else ""
    return (
        f"{host.shown}: the host's key is not trusted: {reason or 'unknown key'}. Check its fingerprint, then add it with "
        f"`ssh-keyscan {port}{host.host} >> {host.known_hosts}`, or set `strictHostKey: false` for a test"
    )


def _keys(host: RemoteHost) -> list[Any] | None:
    """The step's key, else the usual ones that can be read without a passphrase; none when there is a password."""
    if host.key:
        path = Path(host.key).expanduser()
        try:
            return [asyncssh.read_private_key(path)]
        except OSError as error:
            raise StepFailed(f"{host.shown}: cannot read the key {path}: {error.strerror or error}") from None
        except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
            if "passphrase" in str(error).lower():
                raise StepFailed(f"{host.shown}: the key {path} has a passphrase; use a key without one") from None
            raise StepFailed(f"{host.shown}: {path} is not a private key: {error}") from None
    found: list[Any] = []
    for name in () if host.password else _USUAL_KEYS:
        with contextlib.suppress(OSError, RuntimeError, asyncssh.KeyEncryptionError, asyncssh.KeyImportError):
            found.append(asyncssh.read_private_key(Path("~/.ssh", name).expanduser()))
    return found or None


def _credentials(host: RemoteHost) -> str:
    if host.key:
        return f"the key {host.key}" + (" and the password" if host.password else "")
    return "the password" if host.password else "the keys in ~/.ssh"


class Session:
    """An open connection."""

    def __init__(self, connection: asyncssh.SSHClientConnection, host: RemoteHost) -> None:
        self._connection = connection
        self._host = host

    async def start(self, ctx: TryContext, command: RemoteCommand) -> RemoteProcess:
        try:
            process = await self._connection.create_process(command.text, encoding=None)
        except (asyncssh.Error, OSError) as error:
            raise StepFailed(f"{self._host.shown}: cannot start the command: {error}") from None
        return RemoteProcess(process, self._host, LogStreams(ctx), command.stdin, self._connection)


class RemoteProcess:
    """A command on the other machine. A lost connection is a failure: what became of the command is not known."""

    def __init__(
        self,
        process: asyncssh.SSHClientProcess[bytes],
        host: RemoteHost,
        logs: LogStreams,
        stdin: bytes,
        connection: asyncssh.SSHClientConnection,
    ) -> None:
        self._process = process
        self._host = host
        self._logs = logs
        self._stdin = stdin
        self._connection = connection
        self._ending = Ending(self._signal, connection.abort)

    async def wait(self) -> Exit:
        process = self._process
        try:
            with self._logs as logs:
                await _all(self._feed(), _pump(process.stdout, logs.out), _pump(process.stderr, logs.err))
            await process.wait_closed()
        except (asyncssh.Error, ConnectionError) as error:
            raise StepFailed(f"{self._host.shown}: the connection was lost: {error}") from None
        finally:
            self._ending.close()
            process.close()
        return self._exit()

    def _exit(self) -> Exit:
        process = self._process
        if process.exit_signal is not None:
            number = int(getattr(signals, f"SIG{process.exit_signal[0]}", signals.SIGKILL))
            return Exit(128 + number, number)
        if process.exit_status is None or process.exit_status < 0:
            if self._ending.begun:
                return Exit(128 + signals.SIGKILL, signals.SIGKILL)
            raise StepFailed(f"{self._host.shown}: the connection was lost before the command ended")
        return Exit(process.exit_status)

    async def _feed(self) -> None:
        stdin = self._process.stdin
        try:
            if self._stdin:
                stdin.write(self._stdin)
                await stdin.drain()
            stdin.write_eof()
        except (BrokenPipeError, ConnectionResetError):
            pass  # the command ended without reading: its exit code tells

    async def stop(self, signal: int, grace_s: float) -> None:
        self._ending.begin(signal, grace_s)

    async def _signal(self, signal: int) -> None:
        """Through the channel; OpenSSH does not pass signals on to a process of root, which a session beside it must kill."""
        name = signals.Signals(signal).name.removeprefix("SIG")
        with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
            self._process.send_signal(name)
            if self._host.user == "root":
                async with asyncio.timeout(SIGNAL_WITHIN_S):
                    await self._connection.run(_KILL_BESIDE.format(name=name), stdin=asyncssh.DEVNULL)


async def _all(*works: Coroutine[Any, Any, None]) -> None:
    """Wait for all; the first that raises ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _pump(reader: Any, log: LogStream) -> None:
    while data := await reader.read(CHUNK_BYTES):
        log.write(data)
