"""Steps that do nothing: what the engine itself costs. Many runs, one long run, and whether cost per step stays flat."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from .drive import Load
from .report import Figure, figure, interleave, rounded, sample

IN_FLIGHT = 500
SHORT = 10


def ours(folder: Path, runs: int, steps: int, flight: int, **more: Any) -> dict[str, Any]:
    load = Load(runs, steps, flight, str(folder), **more)
    return sample("drive", msgspec.json.encode(load).decode())


def bare(folder: Path, runs: int, steps: int, flight: int) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        return float(sample("bare", "chains", own, runs, steps, flight)["steps_per_s"])


def measure_many(folder: Path, quick: bool) -> list[Figure]:
    """Five-step chains, 500 runs in flight."""
    runs, times = (2_000, 3) if quick else (10_000, 5)
    taken = interleave(
        times,
        ours=lambda: ours(folder, runs, 5, IN_FLIGHT),
        unnamed=lambda: ours(folder, runs, 5, IN_FLIGHT, surface=""),
        bare=lambda: bare(folder, runs, 5, IN_FLIGHT),
    )
    cpu = [one["cpu_us_per_step"] for one in taken["ours"]]
    alone = [one["steps_per_s"] for one in taken["unnamed"]]
    notes = {"runs": runs, "cpu_us_per_step": rounded(median(cpu)), "steps_per_s_without_dag_slot": rounded(median(alone))}
    return [
        figure("no-op steps, 500 runs in flight", "steps/s", [one["steps_per_s"] for one in taken["ours"]],
               bare={"sqlite_prototype": taken["bare"]}, limit="sqlite_prototype", least=20_000, notes=notes),
        figure("five-step runs, 500 in flight", "runs/s", [one["runs_per_s"] for one in taken["ours"]],
               bare={"sqlite_prototype": [rate / 5 for rate in taken["bare"]]}, limit="sqlite_prototype", least=4_000),
    ]  # fmt: skip


def measure_one(folder: Path, quick: bool) -> list[Figure]:
    """One run whose 1,000 steps follow each other: every step waits for a commit of its own."""
    taken = interleave(
        3 if quick else 7,
        ours=lambda: ours(folder, 1, 1_000, 1)["steps_per_s"],
        bare=lambda: bare(folder, 1, 1_000, 1),
    )
    return [
        figure("chain in one run", "steps/s", taken["ours"], bare={"sqlite_prototype": taken["bare"]},
               limit="sqlite_prototype", least=1_000)
    ]  # fmt: skip


def measure_long(folder: Path, quick: bool) -> list[Figure]:
    """A run of 10,000 steps against runs of 10, with as many steps in all and as many of them in flight, without DAG slots: those
    would charge the short runs for each other."""
    steps, times = 10_000, 3 if quick else 7
    found = []
    for shape, flight in (("chain", 1), ("fan", steps // SHORT)):
        taken = interleave(
            times,
            long=partial(ours, folder, 1, steps, 1, shape=shape, surface=""),
            short=partial(ours, folder, steps // SHORT, SHORT, flight, shape=shape, surface=""),
        )
        for what, title in (("us_per_step", "time"), ("cpu_us_per_step", "CPU")):
            long, short = ([one[what] for one in taken[size]] for size in ("long", "short"))
            ratios = [one / other for one, other in zip(long, short, strict=True)]
            name = f"{shape} of 10,000 to runs of 10: {title} per step"
            bare = {"us_per_step_in_runs_of_10": short, "us_per_step_in_10000": long}
            found.append(figure(name, "×", ratios, bare=bare, most=1.3))
    return found


def measure(folder: Path, quick: bool) -> list[Figure]:
    return [*measure_many(folder, quick), *measure_one(folder, quick), *measure_long(folder, quick)]
