"""What it costs to have it: starting, asking for help, standing idle."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from .report import Figure, figure, interleave
from .server import Server, plain_environment

SETTLE_S = 3.0
IDLE = "import asyncio, fastapi, uvicorn, uvloop\nprint(flush=True)\nuvloop.run(asyncio.sleep({}))"


def whole_s(folder: Path, *arguments: str) -> float:
    """Seconds a process of this interpreter takes from start to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, env=plain_environment(folder), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def start_s(folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as own, Server(Path(own)) as server:
        return server.ready_s


def help_figure(folder: Path) -> Figure:
    program = str(Path(sys.executable).parent / "astrarium")
    taken = interleave(
        11,
        ours=lambda: whole_s(folder, program, "--help") * 1000,
        bare=lambda: whole_s(folder, "-c", "pass") * 1000,
    )
    return figure("astrarium --help, whole process", "ms", taken["ours"], bare={"python_-c_pass": taken["bare"]},
                  limit="python_-c_pass", most=150)  # fmt: skip


def start_figure(folder: Path, times: int) -> Figure:
    taken = interleave(
        times,
        ours=lambda: start_s(folder),
        bare=lambda: whole_s(folder, "-c", "import fastapi, uvicorn, uvloop"),
    )
    return figure("server start until health answers", "s", taken["ours"], bare={"import_of_the_framework": taken["bare"]},
                  limit="import_of_the_framework", most=2.0)  # fmt: skip


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def pss_mb(processes: list[psutil.Process]) -> float:
    return float(sum(getattr(one.memory_full_info(), "pss", one.memory_info().rss) for one in processes)) / 1e6


def cpu_s(processes: list[psutil.Process]) -> float:
    return float(sum(sum(one.cpu_times()[:2]) for one in processes))


def idle_figures(folder: Path, watch_s: float) -> list[Figure]:
    """Ours and a bare framework process stand idle side by side."""
    with tempfile.TemporaryDirectory(dir=folder) as own, Server(Path(own)) as server:
        command = [sys.executable, "-c", IDLE.format(watch_s + SETTLE_S + 30)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as framework:
            assert framework.stdout is not None
            framework.stdout.readline()
            time.sleep(SETTLE_S)
            found, other = family(psutil.Process(server.process.pid)), family(psutil.Process(framework.pid))
            before, bare_before = cpu_s(found), cpu_s(other)
            time.sleep(watch_s)
            used, bare_used = (cpu_s(found) - before) * 60 / watch_s, (cpu_s(other) - bare_before) * 60 / watch_s
            held, bare_held = pss_mb(found), pss_mb(other)
            rss = found[0].memory_info().rss / 1e6
            framework.kill()
    notes = {"watched_s": watch_s, "rss_mb": round(rss, 1), "processes": len(found)}
    bare_mb, bare_s = {"framework_alone": [bare_held]}, {"framework_alone": [bare_used]}
    return [
        figure("idle server, memory (PSS)", "MB", [held], bare=bare_mb, limit="framework_alone", most=100, notes=notes),
        figure("idle server, CPU in 60 s", "s", [used], bare=bare_s, most=0.3, notes=notes),
    ]


def measure(folder: Path, quick: bool) -> list[Figure]:
    return [help_figure(folder), start_figure(folder, 3 if quick else 7), *idle_figures(folder, 10.0 if quick else 60.0)]
