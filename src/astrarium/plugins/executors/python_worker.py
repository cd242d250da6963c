"""The process of one warm Python worker: takes one call at a time over a socket, answers with a value or an error.

Started as `python -m astrarium.plugins.executors.python_worker FD FOLDER`. A frame is four bytes of length and JSON; a call is
preceded by one byte that carries the two descriptors its prints go to. Only the standard library is imported: what is in
memory here is what a user's function meets.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
import traceback
from types import FrameType, TracebackType
from typing import Any

MAX_FRAME_BYTES = 64 * 1024 * 1024
LENGTH = struct.Struct(">I")
_STOPPED = 128 + signal.SIGTERM


def main(fd: int, folder: str) -> None:
    """Answer calls until the other side hangs up."""
    os.set_inheritable(fd, False)
    signal.signal(signal.SIGTERM, _stop)
    sys.dont_write_bytecode = True
    if folder:
        sys.path.insert(0, folder)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    null = os.open(os.devnull, os.O_RDWR)
    _point_output(null, null)
    seen: dict[str, int] = {}
    with socket.socket(fileno=fd) as wire:
        while call := _receive(wire):
            _forget_changed(folder, seen)
            answer = _carry_out(call)
            _settle(null)
            _note_files(folder, seen)
            wire.sendall(_frame(answer))


def _stop(signum: int, frame: FrameType | None) -> None:
    """Leave as an exception, so that the function's own clean-up runs."""
    raise SystemExit(_STOPPED)


def _receive(wire: socket.socket) -> dict[str, Any] | None:
    signal_byte, fds, _, _ = socket.recv_fds(wire, 1, 2)
    if not signal_byte:
        return None
    _point_output(*fds)
    for fd in fds:
        os.close(fd)
    (length,) = LENGTH.unpack(_exactly(wire, LENGTH.size))
    call: dict[str, Any] = json.loads(_exactly(wire, length))
    return call


def _exactly(wire: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = wire.recv(min(size - len(data), 1 << 20))
        if not part:
            raise SystemExit(0)
        data += part
    return bytes(data)


def _point_output(out: int, err: int) -> None:
    os.dup2(out, 1)
    os.dup2(err, 2)


def _carry_out(call: dict[str, Any]) -> dict[str, Any]:
    threads = threading.active_count()
    target = call["target"]
    try:
        os.environ.clear()
        os.environ.update(call["env"])
        os.chdir(call["cwd"])
        value = _find(target)(**call["args"])
        if inspect.isawaitable(value):
            value = asyncio.run(_finish(value))
        answer = {"value": _sayable(target, value)}
    except SystemExit as end:
        if end.code == _STOPPED:
            raise
        answer = (
            {} if end.code in (None, 0) else {"error": f"{target} called sys.exit({end.code!r})", "exit_code": _exit_code(end)}
        )
    except BaseException as error:
        traceback.print_exception(type(error), error, _own_part(error.__traceback__))
        answer = {"error": _said(error), "exit_code": getattr(error, "exit_code", None)}
    answer["rss_bytes"] = _rss_bytes()
    answer["left_over"] = _has_children() or threading.active_count() > threads
    return answer


def _exit_code(end: SystemExit) -> int:
    return end.code & 0xFF if isinstance(end.code, int) else 1


async def _finish(value: Any) -> Any:
    return await value


def _find(target: str) -> Any:
    """The function a path names; the error says which half is wrong and where it was looked for."""
    module_name, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0] and error.name != module_name:
            raise
        raise LookupError(f"no module `{module_name}` (looked first in {sys.path[0]})") from None
    for name in path.split("."):
        if not hasattr(found, name):
            raise LookupError(f"module `{module_name}` has no `{path}`")
        found = getattr(found, name)
    if not callable(found):
        raise LookupError(f"`{target}` is not a function")
    return found


def _sayable(target: str, value: Any) -> Any:
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"{target} returned what JSON cannot say ({error}); return texts, numbers, lists and maps of them"
        ) from None
    if len(text) > MAX_FRAME_BYTES // 2:
        raise ValueError(f"{target} returned {len(text)} bytes; write so much to a file and return its path")
    return value


def _said(error: BaseException) -> str:
    own_words = isinstance(error, LookupError) and type(error) is LookupError
    text = str(error)
    return text if own_words else f"{type(error).__name__}: {text}" if text else type(error).__name__


def _own_part(trace: TracebackType | None) -> TracebackType | None:
    """Without the frames of this file and of asyncio at the top."""
    ours = (__file__, os.path.dirname(asyncio.__file__))
    start = trace
    while start is not None and start.tb_frame.f_code.co_filename.startswith(ours):
        start = start.tb_next
    return start


def _rss_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _has_children() -> bool:
    """Whether the function left a process, living or dead, behind."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _settle(null: int) -> None:
    """Everything printed is in the log before the answer goes; later prints of a stray thread go nowhere."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    _point_output(null, null)


def _files_of(folder: str) -> dict[str, str]:
    """Loaded modules which lie in the DAG's folder."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if folder and isinstance(file, str) and file.startswith(folder.rstrip("/") + "/") and "/site-packages/" not in file:
            found[name] = file
    return found


def _modified(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


def _note_files(folder: str, seen: dict[str, int]) -> None:
    for file in _files_of(folder).values():
        seen.setdefault(file, _modified(file))


def _forget_changed(folder: str, seen: dict[str, int]) -> None:
    """A changed file of the DAG's folder takes all its modules out of memory, since they import each other."""
    importlib.invalidate_caches()
    if all(_modified(file) == known for file, known in seen.items()):
        return
    seen.clear()
    for name in _files_of(folder):
        del sys.modules[name]


def _frame(answer: dict[str, Any]) -> bytes:
    data = json.dumps(answer).encode()
    return LENGTH.pack(len(data)) + data


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
