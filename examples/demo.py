"""`make demo`: a real server, three example DAGs started over HTTP and watched live, and where to look for more.

Everything is kept in a temporary folder that is removed at the end. `--keep` leaves the server running until Ctrl-C.
Exit code 0 when everything went as the examples say, else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from astrarium.cli.follow import follow
from astrarium.cli.link import Server, ask, live_server
from astrarium.cli.source import open_source
from astrarium.cli.tree import choose_show
from astrarium.cli.view import RunView
from astrarium.config import Settings
from astrarium.errors import AstrariumError

EXAMPLES = Path(__file__).parent / "dags"
PORT = 8080
START_S = 20.0
STOP_S = 20.0
RUN_S = 40.0

ACTS = (
    (
        "sales-report.yaml",
        "",
        "succeeded",
        "Fan out and in: four CSV files are written, summed up in parallel, joined, reported.",
    ),
    ("flaky-fetch.yaml", "", "succeeded", "Retries: the first step works on its third try."),
    ("flaky-fetch.yaml", "WORKS_ON_TRY=9", "failed", "The same, but the retries do not help: a handler writes an alarm file."),
    ("manifest.yaml", "FOLDER={examples}", "succeeded", "Children: one run for each file of a folder, four at a time."),
)
"""(file, parameters, how it must end, what it shows)"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the examples on a server of their own.")
    parser.add_argument("--keep", action="store_true", help="leave the server running until Ctrl-C")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory(prefix="astrarium-demo-") as folder:
        settings = Settings(data_dir=Path(folder, "data"), dags_dir=EXAMPLES)
        log = Path(folder, "server.log")
        process = start_server(settings, log)
        try:
            good = play(settings, process, Path(folder), keep)
        except (AstrariumError, Failed) as error:
            print(f"demo: {error}\n{log.read_text()[-4000:]}", file=sys.stderr)
            good = False
        except KeyboardInterrupt:
            good = False
        finally:
            stopped = stop_server(process)
        print("The server has stopped, nothing is left running." if stopped else "The server did not stop as it should.")
        return 0 if good and stopped else 1


class Failed(Exception):
    """Something in the demo is not as it should be."""


def start_server(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    """A server process of our own, on the usual port if that is free. Its own Ctrl-C is ours to give."""
    command = [sys.executable, "-m", "astrarium", "server", "--port", str(PORT if is_free(PORT) else 0)]
    command += ["--data-dir", str(settings.data_dir), "--dags-dir", str(settings.dags_dir)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ASTRARIUM_")}
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, start_new_session=True)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for_server(settings: Settings, process: subprocess.Popen[bytes]) -> Server:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise Failed(f"the server ended with exit code {process.returncode}")
        server = live_server(settings)
        if server is not None:
            return server
        time.sleep(0.05)
    raise Failed(f"the server did not start within {START_S:.0f} seconds")


def play(settings: Settings, process: subprocess.Popen[bytes], folder: Path, keep: bool) -> bool:
    began = time.monotonic()
    server = wait_for_server(settings, process)
    print(f"A server listens on {server.url}, started in {time.monotonic() - began:.1f} s.\n", flush=True)
    good = True
    urls = []
    for number, (file, params, expected, about) in enumerate(ACTS, 1):
        print(f"{number}. {about}", flush=True)
        out = folder / f"out-{number}"
        wanted = f'OUT="{out}" {params.format(examples=EXAMPLES)}'.strip()
        answer = ask(server, "POST", f"/dags/{file}/start", {"params": wanted})
        run = asyncio.run(watch(settings, str(answer["dagRunId"])))
        print(flush=True)
        if run.status != expected:
            print(f"demo: {file} should have {expected}, it is {run.status}", file=sys.stderr)
            good = False
        good = check_files(number, out) and good
        urls.append(f"/dag-runs/{run.name}/{run.id}")
    show_urls(server, urls)
    if keep:
        print("\nCtrl-C ends it.", flush=True)
        signal.pause()
    return good


async def watch(settings: Settings, run_id: str) -> RunView:
    async with open_source(settings) as source:
        show = choose_show(as_json=False)
        run = await source.find(run_id)
        return await asyncio.wait_for(follow(source, run, settings.data_dir / "logs", show), RUN_S)


def check_files(number: int, out: Path) -> bool:
    """What each act must leave on the disk."""
    wanted = {1: out / "report.md", 2: out / "answer.txt", 3: out / "alarm.txt", 4: out}[number]
    if not wanted.is_file() or not wanted.stat().st_size:
        print(f"demo: {wanted} was not written", file=sys.stderr)
        return False
    return True


def show_urls(server: Server, runs: list[str]) -> None:
    print("Where to look (each was just asked):")
    for path in ("/health", "/dags", "/dag-runs", *runs, f"{runs[0]}/outputs", f"{runs[0]}/steps/report/log"):
        ask(server, "GET", path)
        print(f"  {server.url}/api/v2{path}")
    print("A server of your own with these DAGs: make serve ARGS='--dags-dir examples/dags'\n", flush=True)


def stop_server(process: subprocess.Popen[bytes]) -> bool:
    """TERM, as a system would; whether it ended clean."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(STOP_S) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


if __name__ == "__main__":
    sys.exit(main())
