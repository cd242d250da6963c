"""A folder of one test's own, and the real `astrarium` in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.served import announced

ASTRARIUM = (sys.executable, "-m", "astrarium")
WAIT_S = 30.0
BYTECODE = tempfile.TemporaryDirectory(prefix="astrarium-bytecode-")
"""Compiled modules for all processes of this test session, also where the interpreter is told not to write any."""


def until(true: Callable[[], Any], what: str, seconds: float = WAIT_S) -> Any:
    """Wait for a condition, and return what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


class Room:
    """`folder` holds the DAG files and is the working directory; `data` is the data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.dags = folder / "dags"
        self.dags.mkdir()
        (folder / "no-settings.toml").write_text("")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("ASTRARIUM_")}
        self.env |= {"ASTRARIUM_CONFIG": str(folder / "no-settings.toml"), "ASTRARIUM_DATA_DIR": str(self.data)}
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.env |= {"PYTHONPYCACHEPREFIX": BYTECODE.name}
        self.env |= {"ASTRARIUM_DAGS_DIR": str(self.dags), "COLUMNS": "100"}

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def call(self, *words: str, seconds: float = 60.0, **env: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            [*ASTRARIUM, *words], cwd=self.folder, env={**self.env, **env}, capture_output=True, text=True, timeout=seconds,
            check=False, errors="surrogateescape",
        )  # fmt: skip

    def ok(self, *words: str) -> str:
        """The output of a command that must succeed."""
        done = self.call(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def document(self, *words: str, code: int = 0) -> Any:
        """What a command says with `--json`."""
        done = self.call(words[0], "--json", *words[1:])
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def begun(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on; it is ended if the test leaves it."""
        process = subprocess.Popen(
            [*ASTRARIUM, *words], cwd=self.folder, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.communicate(timeout=WAIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    @contextlib.contextmanager
    def server(self, *words: str) -> Iterator[dict[str, Any]]:
        """A live server on the data folder; gives what its `server.json` says. It must end clean."""
        with self.begun("server", "--port", "0", "--drain-timeout", "1", *words) as process:
            yield announced(process, self.data, lambda: process.communicate()[1])
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0, err

    def processes(self, mark: str) -> list[int]:
        """Processes whose command line contains `mark` and that are no zombies."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            if any(mark in word for word in words) and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        return found
