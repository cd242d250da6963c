"""`ssh`: commands or a script on another machine (Dagu 1.30: `type: ssh`, the DAG's own `ssh`, contract §5).

The connection is made for the step alone. What the text refers to is inserted here, before it is sent: the other machine knows
none of the DAG's variables. A stop signals the remote process group through the channel (OpenSSH 7.9 and later pass signals on).
"""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Exit, Result, StepFailed, TryContext
from .remote import RemoteCommand, RemoteHost, remote_script
from .shell import interpreter_of, last_lines

CONNECT_TIMEOUT_S = 30.0


class SshParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where: `user`, `host`, `port`, `key` (a file; else the usual ones in `~/.ssh`), `password`. `strict_host_key` checks the
    host's key against `known_hosts`. What: `commands` in order up to the first that fails, each as one line of `shell`
    (none = the login shell), or a `script`, which `command` (an interpreter) or the shell runs from a temporary file there.
    All texts are templates."""

    user: str
    host: str
    port: str = "22"
    key: str = ""
    password: str = ""
    strict_host_key: bool = True
    known_hosts: str = "~/.ssh/known_hosts"
    shell: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    script: str = ""
    command: str = ""


class Ssh:
    """Runs there; stdout is the step's output, the exit code its own."""

    kind: ClassVar[str] = "ssh"
    Params: ClassVar[type[msgspec.Struct]] = SshParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = True

    async def run(self, ctx: TryContext, params: SshParams) -> Result:
        host = await self._host(ctx, params)
        # By name: the library takes longer to load than everything else at start, and few runs need it.
        client = import_module(".ssh_client", __package__)
        ctx.stdout.parent.mkdir(parents=True, exist_ok=True)
        said_before = ctx.stderr.stat().st_size if ctx.stderr.exists() else 0
        async with client.connect(host) as session:
            for number, command in enumerate(self._commands(ctx, params)):
                if ctx.stopping.is_set():
                    return Result("cancelled", error=f"stopped before command {number + 1}")
                ended: Exit = await ctx.watch(await session.start(ctx, command))
                if ended.code:
                    said = f"ended by signal {ended.signal}" if ended.signal else f"exit code {ended.code}"
                    tail = last_lines(ctx.stderr, said_before)
                    error = f"{host.shown}: {said}" + (f"\n{tail}" if tail else "")
                    return Result("failed", exit_code=ended.code, error=error)
        return Result(exit_code=0)

    async def _host(self, ctx: TryContext, params: SshParams) -> RemoteHost:
        user, host, port = await ctx.expand(params.user), await ctx.expand(params.host), await ctx.expand(params.port)
        if not user.strip() or not host.strip():
            raise StepFailed("an ssh step needs `user` and `host`: one of them is empty once its variables are expanded")
        if not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise StepFailed(f"`port` must be a number from 1 to 65535, not {port!r}")
        return RemoteHost(
            user.strip(),
            host.strip(),
            int(port),
            await ctx.expand(params.key),
            await ctx.expand(params.password),
            params.strict_host_key,
            await ctx.expand(params.known_hosts),
            CONNECT_TIMEOUT_S,
        )

    def _commands(self, ctx: TryContext, params: SshParams) -> list[RemoteCommand]:
        if params.script:
            body = ctx.expand_elsewhere(params.script, script=True)
            words = params.shell or interpreter_of(body) or ("sh", "-e")
            runner = ctx.expand_elsewhere(params.command) if params.command else words
            return [remote_script(runner, body)]
        return [RemoteCommand.line(params.shell, ctx.expand_elsewhere(text)) for text in params.commands]


STEP = Ssh()
