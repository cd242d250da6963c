"""A process of the try, for a tool: what it prints goes to the try's log, and from there to who called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ...runs.ports import TryContext

MOST_PRINTED_BYTES = 64 * 1024
MOST_S = 600

# An alarm outlives `exec`: what is started is ended by the system, whatever it does.
_SHELL = "import os,signal,sys;signal.alarm(int(sys.argv[1]));os.execvp('sh',['sh','-c',sys.argv[2]])"
_PYTHON = (
    "import signal,sys;signal.alarm(int(sys.argv[1]));exec(compile(sys.stdin.read(),'<code>','exec'),{'__name__':'__main__'})"
)


async def run_shell(ctx: TryContext, command: str, timeout_s: int) -> dict[str, Any]:
    return await _run(ctx, (sys.executable, "-I", "-c", _SHELL, str(timeout_s), command), b"")


async def run_python(ctx: TryContext, code: str, timeout_s: int) -> dict[str, Any]:
    return await _run(ctx, (sys.executable, "-I", "-c", _PYTHON, str(timeout_s)), code.encode())


async def _run(ctx: TryContext, argv: tuple[str, ...], stdin: bytes) -> dict[str, Any]:
    await ctx.open()
    before = _size(ctx.stdout), _size(ctx.stderr)
    ended = await ctx.run_process(argv, stdin=stdin)
    return {"exit_code": ended.code, "stdout": _read(ctx.stdout, before[0]), "stderr": _read(ctx.stderr, before[1])}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read(path: Path, start: int) -> str:
    """What was added to a log since, its end if it is long."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(start, _size(path) - MOST_PRINTED_BYTES))
        return file.read(MOST_PRINTED_BYTES).decode("utf-8", "replace")
