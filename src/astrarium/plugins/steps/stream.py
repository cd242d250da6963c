"""Output that comes from elsewhere, written to the try's log files while it runs: redacted, and cut at the cap."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from ...runs.ports import TryContext
from ...runs.work.redact import Redactor
from ..executors.sink import cut_line, open_log


class LogStream:
    """One stream of a try. A secret is found however the bytes are cut into chunks; a full disk raises `OSError`. `alone` is a
    second file for it, which keeps its first `alone_bytes`."""

    def __init__(
        self, path: Path, cap_bytes: int, redact: tuple[str, ...], alone: Path | None = None, alone_bytes: int = 0
    ) -> None:
        self._fd = open_log(path)
        self._alone = alone
        self._alone_room = alone_bytes
        self._cap = cap_bytes
        self._room = max(0, cap_bytes - os.fstat(self._fd).st_size) if cap_bytes else -1
        self._was_cut = False
        self._redactor = Redactor(redact)

    def write(self, data: bytes) -> None:
        self._put(self._redactor.feed(data))

    def close(self) -> None:
        if self._fd >= 0:
            try:
                self._put(self._redactor.flush())
            finally:
                os.close(self._fd)
                self._fd = -1

    def _put(self, data: bytes) -> None:
        if self._alone is not None and self._alone_room > 0 and data:
            with self._alone.open("ab") as file:
                file.write(data[: self._alone_room])
            self._alone_room -= len(data)
        if self._room >= 0:
            if len(data) > self._room:
                data = data[: self._room]
                if not self._was_cut:
                    self._was_cut = True
                    data += cut_line(self._cap)
                self._room = 0
            else:
                self._room -= len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


class LogStreams:
    """Both streams of a try, open while it runs; one and the same where the log is merged."""

    def __init__(self, ctx: TryContext) -> None:
        told = (ctx.max_log_bytes, ctx.redact)
        alone = ctx.stdout_alone
        self.out = LogStream(ctx.stdout, *told, alone, ctx.graph.max_output_bytes + 1)
        try:
            shared = ctx.stderr == ctx.stdout
            self.err = self.out if shared and alone is None else LogStream(ctx.stderr, *told)
        except BaseException:
            self.out.close()
            raise

    def __enter__(self) -> LogStreams:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.out.close()
        finally:
            self.err.close()
