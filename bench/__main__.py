"""`python -m bench [NAMES] [--json FILE] [--quick] [--folder FOLDER]`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from . import (
    access,
    builds,
    graphs,
    history,
    idle,
    latency,
    live,
    noop,
    plans,
    postgres,
    queue,
    restart,
    schedule,
    search,
    shell,
    socket,
)
from .report import HEAD, Figure, line, machine

FAMILIES: dict[str, Callable[[Path, bool], list[Figure]]] = {
    "many": noop.measure_many,
    "one": noop.measure_one,
    "long": noop.measure_long,
    "postgres": postgres.measure,
    "shell": shell.measure,
    "latency": latency.measure,
    "queue": queue.measure,
    "live": live.measure,
    "access": access.measure,
    "socket": socket.measure,
    "restart": restart.measure,
    "schedule": schedule.measure,
    "search": search.measure,
    "history": history.measure,
    "builds": builds.measure,
    "plans": plans.measure,
    "graphs": graphs.measure,
    "idle": idle.measure,
}
RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    about = "Measure Astrarium next to what this machine can do at most."
    parser = argparse.ArgumentParser(prog="python -m bench", description=about)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure, all by default: {', '.join(FAMILIES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go (bench/results/<date>.json)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples: a look, not a claim")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the data lies while measuring: no RAM disk")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in FAMILIES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(FAMILIES)}")
    return asked


def measure(name: str, folder: Path, quick: bool) -> list[Figure]:
    """One family; one that breaks says so and leaves the others alone."""
    try:
        return FAMILIES[name](folder, quick)
    except (RuntimeError, OSError, ImportError) as error:
        return [Figure(name, "", skipped=f"broke: {error}")]


def main() -> int:
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the usual way out: servers and folders go with it
    asked.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="data-", dir=asked.folder) as own:
        folder = Path(own)
        facts = machine(folder)
        print("  ".join(f"{name} {value}" for name, value in facts.items()), HEAD, sep="\n", flush=True)
        for name in asked.names or FAMILIES:
            for made in measure(name, folder, asked.quick):
                figures.append(made)
                print(line(made), flush=True)
    facts |= {"load_1min_after": os.getloadavg()[0], "took_s": round(time.monotonic() - began), "quick": asked.quick}
    now = datetime.datetime.now().astimezone()
    path: Path = asked.json or RESULTS / f"{now:%Y-%m-%dT%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"at": now.isoformat(timespec="seconds"), "machine": facts, "figures": msgspec.to_builtins(figures)}
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
