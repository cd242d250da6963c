"""Leftovers of a dead server are found by journal or cookie, and nobody else is ever hit."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrarium.plugins.executors import journal as journal_file
from astrarium.plugins.executors.journal import SpawnJournal, boot_id, clock_s, kill_leftovers
from astrarium.plugins.executors.local import LocalExecutor
from astrarium.runs.ports import ProcessSpec
from tests.contracts.executor import alive

SERVER = f"dead-{os.getpid()}"


@pytest.fixture
def sleeper(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    env = {"PATH": os.environ["PATH"], **getattr(request, "param", {})}
    process = subprocess.Popen(["sleep", "300"], start_new_session=True, env=env)
    yield process
    process.kill()
    process.wait()


def test_a_group_of_the_journal_is_killed(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    SpawnJournal(tmp_path / "spawns").spawned(sleeper.pid, "try", clock_s())
    assert kill_leftovers(tmp_path / "spawns", ()) == 1
    assert sleeper.wait() == -9
    assert not (tmp_path / "spawns").exists()


@pytest.mark.parametrize("case", ["ended", "other boot", "reused pid", "garbage"])
def test_what_does_not_fit_is_left_alone(sleeper: subprocess.Popen[bytes], tmp_path: Path, case: str) -> None:
    path = tmp_path / "spawns"
    journal = SpawnJournal(path)
    journal.spawned(sleeper.pid, "try", clock_s() - (3600 if case == "reused pid" else 0))
    if case == "ended":
        journal.ended(sleeper.pid)
    if case == "other boot":
        path.write_text(path.read_text().replace(boot_id(), "00000000-0000-0000-0000-000000000000"))
    if case == "garbage":
        path.write_bytes(f"+ {sleeper.pid} x {boot_id()} t\n+ x\n\xff\n".encode("latin-1") + b"+ 999999999 1.0 b")
    assert kill_leftovers(path, ()) == 0
    assert alive(sleeper.pid)


@pytest.mark.parametrize("sleeper", [{"ASTRARIUM_SERVER": SERVER}], indirect=True)
def test_the_cookie_finds_who_is_in_no_journal(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert kill_leftovers(tmp_path / "none", ("another",)) == 0
    assert alive(sleeper.pid)
    assert kill_leftovers(tmp_path / "none", (SERVER, "another")) == 1
    assert sleeper.wait() == -9


def test_the_journal_is_rewritten_with_the_living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "_COMPACT_LINES", 20)
    journal = SpawnJournal(tmp_path / "spawns", "server-1")
    for pid in range(100_000, 100_200):
        journal.spawned(pid, "try", 1.0)
        if pid != 100_003:
            journal.ended(pid)
    lines = (tmp_path / "spawns").read_text().splitlines()
    assert len(lines) <= 25 and lines[0] == "= server-1" and any(line.startswith("+ 100003 ") for line in lines)
    journal.ended(100_003)
    journal.close()
    assert not (tmp_path / "spawns").exists()


@pytest.mark.crash
def test_after_kill_nine_of_a_server_nothing_of_it_lives(tmp_path: Path) -> None:
    program = """
import asyncio, os, sys
from pathlib import Path
from astrarium.plugins.executors.journal import SpawnJournal
from astrarium.plugins.executors.local import LocalExecutor
from astrarium.runs.ports import ProcessSpec
async def main():
    here = Path(sys.argv[1])
    executor = LocalExecutor(server=sys.argv[2], journal=SpawnJournal(here / "spawns", sys.argv[2]))
    for n in range(5):
        script = "trap '' TERM; sleep 300 & (setsid sleep 300 &) ; sleep 300"
        env = {"PATH": os.environ["PATH"]}
        await executor.start(ProcessSpec(("sh", "-c", script), env, here, here / f"{n}.out", tag=str(n)))
    print("ready", flush=True)
    await asyncio.sleep(300)
asyncio.run(main())
"""
    argv = [sys.executable, "-c", program, str(tmp_path), SERVER + "-crash"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        server.kill()
    assert kill_leftovers(tmp_path / "spawns") >= 5
    assert list(journal_file.holders(lambda env: env.get("ASTRARIUM_SERVER") == SERVER + "-crash")) == []


async def test_an_executor_writes_and_strikes_its_spawns(tmp_path: Path) -> None:
    path = tmp_path / "spawns"
    executor = LocalExecutor(server="s", journal=SpawnJournal(path))
    spec = ProcessSpec(("sleep", "300"), {"PATH": os.environ["PATH"]}, tmp_path, tmp_path / "out", tag="try-7")
    running = await executor.start(spec)
    assert path.read_text().endswith(f"{boot_id()} try-7\n")
    async with asyncio.timeout(20):
        await running.stop(15, 5)
        await running.wait()
    assert path.read_text().splitlines()[-1] == f"- {running.pid}"
    await executor.close(0)
