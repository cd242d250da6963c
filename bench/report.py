"""What a figure is, how samples are taken, and how they are shown."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parent.parent
SAMPLE_TIMEOUT_S = 600.0


class Figure(msgspec.Struct, omit_defaults=True):
    """`value` is the median of `runs`; `bare` holds the medians of what the machine can do at most, taken between our own
    samples; `ratio` is ours to bare, such that 1 is the limit. `target` is a least value, or a most one when `at_most`."""

    name: str
    unit: str
    value: float | None = None
    runs: list[float] = []
    bare: dict[str, float] = {}
    ratio: float | None = None
    target: float | None = None
    at_most: bool = False
    met: bool | None = None
    notes: dict[str, Any] = {}
    skipped: str = ""


def figure(
    name: str, unit: str, runs: list[float], *, bare: dict[str, list[float]] | None = None, limit: str = "",
    least: float | None = None, most: float | None = None, notes: dict[str, Any] | None = None,
) -> Figure:  # fmt: skip
    """Put a figure together; `limit` names the entry of `bare` the ratio is taken to."""
    value = statistics.median(runs)
    medians = {key: rounded(statistics.median(samples)) for key, samples in (bare or {}).items()}
    made = Figure(name, unit, rounded(value), [rounded(run) for run in runs], medians, notes=notes or {})
    if limit and medians[limit]:
        made.ratio = rounded(value / medians[limit])
    if least is not None:
        made.target, made.met = least, value >= least
    elif most is not None:
        made.target, made.at_most, made.met = most, True, value <= most
    return made


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def interleave(times: int, **samplers: Callable[[], Any]) -> dict[str, list[Any]]:
    """Samples in turn, so that what else the machine does falls on all alike."""
    taken: dict[str, list[Any]] = {name: [] for name in samplers}
    for _ in range(times):
        for name, sampler in samplers.items():
            taken[name].append(sampler())
    return taken


def sample(module: str, *arguments: Any) -> dict[str, Any]:
    """One sample in a process of its own: `python -m bench.<module>`, which prints JSON as its last line."""
    command = [sys.executable, "-m", f"bench.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SAMPLE_TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended {done.returncode}:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def commit_ms(folder: Path, times: int = 21) -> float:
    """What making 4 KiB durable takes under `folder`, the median."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(times):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def machine(folder: Path) -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "fsync_ms": rounded(commit_ms(folder)),
        "load_1min": rounded(os.getloadavg()[0]),
    }


HEAD = f"{'figure':46} {'ours':>10} {'unit':8} {'target':>9}  {'met':4} {'bare':>10} {'ratio':>6}"


def line(of: Figure) -> str:
    if of.skipped:
        return f"{of.name:46} skipped: {of.skipped}"
    target = "" if of.target is None else f"{'≤' if of.at_most else '≥'} {of.target:g}"
    met = "" if of.met is None else "yes" if of.met else "NO"
    bare = f"{next(iter(of.bare.values())):,.6g}" if of.bare else ""
    ratio = "" if of.ratio is None else f"{of.ratio:.2f}"
    return f"{of.name:46} {of.value:>10,.6g} {of.unit:8} {target:>9}  {met:4} {bare:>10} {ratio:>6}"
