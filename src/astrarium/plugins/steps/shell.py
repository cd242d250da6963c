"""`shell`: commands or a script, in a shell, under any interpreter, or directly (Dagu 1.30, contract §3.2, §4.4, §4.5)."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Exit, Result, StepFailed, TryContext

STOP_AT_ERROR = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh"})
"""Shells which know `-e`."""
_TAIL_BYTES = 2048
_TAIL_LINES = 5
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


class ShellParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either `commands` (in order, up to the first that fails) or a `script`, which `command` (an interpreter with its
    arguments) runs if given. `shell` is that of the step itself; `["direct"]` = none."""

    commands: tuple[str, ...] = ()
    script: str = ""
    command: str = ""
    shell: tuple[str, ...] = ()
    shell_packages: tuple[str, ...] = ()


def choose_shell(own: tuple[str, ...], of_graph: tuple[str, ...], env: Mapping[str, str]) -> tuple[str, ...]:
    """The shell's words: the step's, else the DAG's, else the default of settings or user, else sh. A Unix shell gets
    `-e`, unless the step itself names a shell with flags."""
    default = next((env[name] for name in ("ASTRARIUM_DEFAULT_SHELL", "DAGU_DEFAULT_SHELL", "SHELL") if env.get(name)), "sh")
    words = own or of_graph or tuple(shlex.split(default))
    name = Path(words[0]).name
    if name not in STOP_AT_ERROR or len(own) > 1 or "-e" in words:
        return words
    return (words[0], "-e", *words[1:])


def interpreter_of(script: str) -> tuple[str, ...]:
    """The words of a script's `#!` line, cut as the kernel does: a program and at most one argument."""
    first, _, _ = script.partition("\n")
    if not first.startswith("#!"):
        return ()
    return tuple(first[2:].strip().split(None, 1))


class Shell:
    """Runs processes; their stdout is the step's output."""

    kind: ClassVar[str] = "shell"
    Params: ClassVar[type[msgspec.Struct]] = ShellParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = "process"
    captures: ClassVar[bool] = True

    async def run(self, ctx: TryContext, params: ShellParams) -> Result:
        said_before = _size(ctx.stderr)
        if params.script:
            return _result(await self._script(ctx, params, params.script), ctx.stderr, said_before)
        for number, text in enumerate(params.commands):
            if ctx.stopping.is_set():
                return Result("cancelled", error=f"stopped before command {number + 1} of {len(params.commands)}")
            ended = await self._command(ctx, params, text)
            if ended.code:
                return _result(ended, ctx.stderr, said_before)
        return Result(exit_code=0)

    async def _command(self, ctx: TryContext, params: ShellParams, text: str) -> Exit:
        if "\n" in text.strip():
            return await self._script(ctx, params, text)
        line = ctx.expand_command(text)
        shell = choose_shell(params.shell, ctx.graph.shell, ctx.env)
        if shell[0] == "direct":
            return await _run(ctx, tuple(_from_env(word, ctx.env) for word in _words(line)))
        if Path(shell[0]).name == "nix-shell":
            packages = [word for name in params.shell_packages for word in ("-p", name)]
            return await _run(ctx, (*shell, *packages, "--run", line))
        return await _run(ctx, (*shell, "-c", line))

    async def _script(self, ctx: TryContext, params: ShellParams, script: str) -> Exit:
        body = ctx.expand_script(script)
        path = _write_script(ctx.workdir, body)
        try:
            return await _run(ctx, (*self._runner(ctx, params, body), str(path)))
        finally:
            path.unlink(missing_ok=True)

    def _runner(self, ctx: TryContext, params: ShellParams, body: str) -> tuple[str, ...]:
        if params.command:
            return tuple(_from_env(word, ctx.env) for word in _words(ctx.expand_command(params.command)))
        # Running the interpreter ourselves works where the folder forbids execution, and cannot meet "text file busy".
        if not params.shell and (interpreter := interpreter_of(body)):
            return interpreter
        shell = choose_shell(params.shell, ctx.graph.shell, ctx.env)
        if shell[0] == "direct":
            return interpreter_of(body) or ("sh", "-e")
        return shell


def _words(line: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise StepFailed(f"cannot split the command into words ({error}): {line}") from None
    if not words:
        raise StepFailed("the command is empty once its variables are expanded")
    return words


def _from_env(word: str, env: Mapping[str, str]) -> str:
    """Without a shell nobody else would insert the environment; unknown names stay as written."""
    return _REFERENCE.sub(lambda match: env.get(match[1] or match[2], match[0]), word)


def _write_script(folder: Path, body: str) -> Path:
    fd, name = tempfile.mkstemp(prefix=".astrarium-script-", dir=folder)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(body if body.endswith("\n") else body + "\n")
    return Path(name)


async def _run(ctx: TryContext, argv: tuple[str, ...]) -> Exit:
    """127 for what is not there and 126 for what cannot be started, as a shell says it, with the reason in log and error."""
    try:
        return await ctx.run_process(argv)
    except OSError as error:
        said = f"{error.filename or argv[0]}: {error.strerror or error}"
        with contextlib.suppress(OSError):
            ctx.write(said + "\n", error=True)
        raise StepFailed(said, 127 if isinstance(error, FileNotFoundError) else 126) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _result(ended: Exit, stderr: Path, said_before: int) -> Result:
    """A failure's text ends with the last lines of stderr."""
    if ended.code == 0:
        return Result(exit_code=0)
    said = f"ended by signal {ended.signal}" if ended.signal else f"exit code {ended.code}"
    tail = last_lines(stderr, said_before)
    return Result("failed", exit_code=ended.code, error=f"{said}\n{tail}" if tail else said)


def last_lines(path: Path, start: int = 0) -> str:
    """The last few lines of a log file, of what was written to it from `start` on."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])


STEP = Shell()
