"""Live streams: how soon a written line and an event are seen, and what streams on which nothing happens cost."""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from .report import Figure, commit_ms, figure, rounded
from .server import PREFIX, Server

LINES = 50
TALKS = """
steps:
  - name: talk
    type: python
    config: {call: "talking:talk", args: {lines: LINES}}
"""
MODULE = """
import sys, time

def talk(lines):
    time.sleep(0.5)
    for _ in range(lines):
        sys.stdout.write(f"{time.time_ns()}\\n")
        sys.stdout.flush()
        time.sleep(0.03)
"""
SHELL = """
steps:
  - name: talk
    command: |
      sleep 0.5
      for i in $(seq LINES); do date +%s%N; sleep 0.03; done
"""
QUIET = "steps:\n  - name: wait\n    command: sleep 600\n"
STREAMS = 500
IDLE_S = 10.0


class Stream:
    """One stream, read frame by frame."""

    def __init__(self, server: Server, path: str) -> None:
        self._socket = socket.create_connection((server.client.host, server.client.port), 30)
        self._socket.sendall(f"GET {PREFIX}{path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
        self._file = self._socket.makefile("rb")
        status = self._file.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{path}: {status.decode().strip()}")

    def frames(self) -> Iterator[tuple[float, str, dict[str, Any]]]:
        """(time of arrival, event, data)"""
        event = ""
        for line in self._file:
            if line.startswith(b"event: "):
                event = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                yield time.time(), event, json.loads(line[6:])

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def lines_ms(server: Server, name: str) -> list[float]:
    """From a process writing a line to a client of the step's stream having it."""
    server.client.close()  # kept too long without use, the server has closed it
    run = server.call("POST", f"/dags/{name}/start", {})["dagRunId"]
    taken = []
    with contextlib.closing(Stream(server, f"/dag-runs/{name}/{run}/steps/talk/log/stream")) as stream:
        for at, event, data in stream.frames():
            if event == "log":
                taken += [(at - int(line) / 1e9) * 1000 for line in data["text"].split()]
            elif event == "end":
                break
    if len(taken) != LINES:
        raise RuntimeError(f"{len(taken)} of {LINES} lines came")
    return taken


def events_ms(server: Server) -> list[float]:
    """From deciding an event to a client of all events having it; the commit lies between."""
    taken: list[float] = []
    with contextlib.closing(Stream(server, "/events?type=run.created")) as stream:
        for at, _, data in _after_starts(server, stream):
            taken.append((at - datetime.fromisoformat(data["time"]).timestamp()) * 1000)
    return taken


def _after_starts(server: Server, stream: Stream) -> Iterator[tuple[float, str, dict[str, Any]]]:
    frames = stream.frames()
    for _ in range(LINES):
        server.call("POST", "/dags/plain/start", {})
        yield next(frames)


def idle_cpu(server: Server, seconds: float) -> float:
    """Share of a core the server takes while nothing happens, in percent."""
    process = psutil.Process(server.process.pid)
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds * 100


def measure(folder: Path, quick: bool) -> list[Figure]:
    seconds = 3.0 if quick else IDLE_S
    with tempfile.TemporaryDirectory(dir=folder) as own, Server(Path(own)) as server:
        (server.dags / "talking.py").write_text(MODULE)
        for name, text in (
            ("python", TALKS),
            ("shell", SHELL),
            ("quiet", QUIET),
            ("plain", "steps:\n  - type: noop\n    name: a\n"),
        ):
            (server.dags / f"{name}.yaml").write_text(text.replace("LINES", str(LINES)))
        shell, python, events = lines_ms(server, "shell"), lines_ms(server, "python"), events_ms(server)
        commits = [commit_ms(Path(own), 1) for _ in range(20)]
        run = server.call("POST", "/dags/quiet/start", {})["dagRunId"]
        without = idle_cpu(server, seconds)
        streams = [Stream(server, f"/dag-runs/quiet/{run}/steps/wait/log/stream") for _ in range(STREAMS)]
        time.sleep(1.0)
        idle, beside = idle_cpu(server, seconds), lines_ms(server, "shell")
        for stream in streams:
            stream.close()
        server.client.close()
        server.call("POST", f"/dag-runs/quiet/{run}/stop", {})
    return [
        latency("log line of a shell step, written to seen", shell, 50.0),
        latency("log line of a python step, written to seen", python, 50.0),
        latency(f"log line of a shell step, beside {STREAMS} other streams", beside, 50.0),
        latency("event, decided to seen", events, 50.0, {"commit": commits}),
        figure(
            f"{STREAMS} idle streams", "% of a core", [idle], most=without + 5.0, notes={"without_streams": rounded(without)}
        ),
    ]  # fmt: skip


def latency(title: str, taken: list[float], most: float, bare: dict[str, list[float]] | None = None) -> Figure:
    p95 = sorted(taken)[int(len(taken) * 0.95)]
    notes = {"p95_ms": rounded(p95), "p95_to_median": rounded(p95 / statistics.median(taken)), "most_ms": rounded(max(taken))}
    return figure(title, "ms", taken, bare=bare, most=most, notes=notes)
