"""Shell steps with logs, next to the rate at which this machine can start `sh -c true` at all."""

from __future__ import annotations

from pathlib import Path

from .noop import ours
from .report import Figure, figure, interleave, sample


def measure(folder: Path, quick: bool) -> list[Figure]:
    """Three-step runs of `sh -c true`, 100 in flight; each step has a session, two log files and an entry in the journal."""
    runs, times = (300, 3) if quick else (700, 7)
    taken = interleave(
        times,
        ours=lambda: ours(folder, runs, 3, 100, kind="shell"),
        bare=lambda: sample("bare", "spawn", runs * 3 // 2)["per_s"],
    )
    notes = {"cpu_us_per_step": min(one["cpu_us_per_step"] for one in taken["ours"])}
    made = figure("shell steps with logs", "steps/s", [one["steps_per_s"] for one in taken["ours"]],
                  bare={"spawns_of_all_cores": taken["bare"]}, limit="spawns_of_all_cores", notes=notes)  # fmt: skip
    shares = [one["steps_per_s"] / rate for one, rate in zip(taken["ours"], taken["bare"], strict=True)]
    share = figure("shell steps to the spawn rate (aim 0.7)", "×", shares, least=0.5)
    return [made, share]
