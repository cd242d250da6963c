"""Warm workers: values, errors, prints, stops, deaths, and when a worker is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from astrarium.plugins.executors.local import LocalExecutor
from astrarium.plugins.executors.python_pool import PythonPool
from astrarium.runs.ports import PythonCall, StepFailed
from tests.contracts.executor import DEADLINE_S, alive, own_zombies, until

CODE = """
import asyncio, os, subprocess, sys, threading, time

calls = 0

def add(a, b):
    return {"sum": a + b, "pid": os.getpid()}

def count():
    global calls
    calls += 1
    return [calls, os.getpid()]

async def later(x):
    await asyncio.sleep(0)
    return x

def talk(word):
    print("out", word)
    print("err", word, file=sys.stderr)
    os.system("echo from a process")

def where():
    return [os.getcwd(), os.environ.get("WHO"), os.environ.get("ASTRARIUM_TRY"), os.environ.get("PATH")]

def fail(code=None):
    error = ValueError("no good")
    if code is not None:
        error.exit_code = code
    raise error

def leave(code):
    sys.exit(code)

def die():
    os.kill(os.getpid(), 9)

def vanish():
    os._exit(7)

def unsayable():
    return {1, 2}

def not_a_number():
    return float("nan")

def hang(path):
    kid = subprocess.Popen(["sleep", "300"])
    lone = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        with open(path, "w") as file:
            file.write(f"{os.getpid()} {kid.pid} {lone.pid}\\n")
        time.sleep(300)
    finally:
        with open(path + ".cleaned", "w") as file:
            file.write("yes")

def litter():
    subprocess.Popen(["sleep", "300"])
    return os.getpid()

def grow():
    global heap
    heap = bytearray(os.urandom(1)) * 60_000_000
    return os.getpid()

def big(n):
    return "x" * n

def echo(value):
    return value

class Tool:
    @staticmethod
    def use():
        return "used"
"""


class Workshop:
    """A pool over a folder with one module."""

    def __init__(self, folder: Path, size: int = 2, **limits: Any) -> None:
        self.folder = folder
        self.executor = LocalExecutor(server=f"pool-test-{os.getpid()}")
        self.pool = PythonPool(self.executor, size, **limits)
        self.log = folder / "log"

    async def call(self, target: str, folder: Path | None = None, **args: Any) -> Any:
        async with asyncio.timeout(DEADLINE_S):
            return await self.pool.call(self.spec(target, folder, **args))

    def spec(self, target: str, folder: Path | None = None, **args: Any) -> PythonCall:
        return PythonCall(
            target if ":" in target else f"tasks:{target}",
            args,
            {"WHO": "Ann", "PATH": os.environ["PATH"]},
            self.folder,
            folder or self.folder,
            self.log / "x.out",
            self.log / "x.err",
            tag=f"try-{self.folder.name}",
        )

    def out(self) -> str:
        return (self.log / "x.out").read_text()

    def err(self) -> str:
        return (self.log / "x.err").read_text()

    async def close(self) -> None:
        await self.pool.close(0)
        await self.executor.close(0)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    (tmp_path / "tasks.py").write_text(CODE)
    shop = Workshop(tmp_path)
    yield shop
    await shop.close()
    assert own_zombies() == []


async def test_values_come_back_and_the_worker_stays_warm(shop: Workshop) -> None:
    assert (await shop.call("add", a=1, b=2))["sum"] == 3
    first, second = await shop.call("count"), await shop.call("count")
    assert (first[0], second[0]) == (1, 2) and first[1] == second[1]
    assert await shop.call("later", x=[None, 1.5, "é"]) == [None, 1.5, "é"]
    assert await shop.call("Tool.use") == "used"


async def test_prints_go_to_the_trys_log_also_those_of_its_processes(shop: Workshop) -> None:
    await shop.call("talk", word="one")
    assert shop.out() == "out one\nfrom a process\n"
    assert shop.err() == "err one\n"


async def test_each_call_has_its_folder_and_environment(shop: Workshop, tmp_path: Path) -> None:
    assert await shop.call("where") == [os.path.realpath(tmp_path), "Ann", f"try-{tmp_path.name}", os.environ["PATH"]]


async def test_an_exception_comes_back_with_type_and_message_and_its_traceback_in_the_log(shop: Workshop) -> None:
    with pytest.raises(StepFailed, match=r"^ValueError: no good$") as caught:
        await shop.call("fail")
    assert caught.value.exit_code is None
    assert "Traceback" in shop.err() and "in fail" in shop.err() and "python_worker" not in shop.err()
    with pytest.raises(StepFailed) as caught:
        await shop.call("fail", code=42)
    assert caught.value.exit_code == 42


async def test_sys_exit(shop: Workshop) -> None:
    assert await shop.call("leave", code=0) is None
    with pytest.raises(StepFailed, match=r"sys\.exit\(3\)") as caught:
        await shop.call("leave", code=3)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module:f", "no module `no_such_module` .looked first in"),
        ("tasks:nothing", "module `tasks` has no `nothing`"),
        ("tasks:calls", "is not a function"),
        ("tasks:unsayable", "returned what JSON cannot say.*set"),
        ("tasks:not_a_number", "returned what JSON cannot say"),
        ("tasks:vanish", "exit code 7 before the function returned"),
        ("tasks:die", "was killed"),
        ("tasks:add", "TypeError: add.. missing"),
    ],
)
async def test_clear_errors(shop: Workshop, target: str, said: str) -> None:
    with pytest.raises(StepFailed, match=said):
        await shop.call(target)
    assert (await shop.call("add", a=1, b=1))["sum"] == 2


async def test_large_arguments_and_values(shop: Workshop) -> None:
    assert len(await shop.call("big", n=3_000_000)) == 3_000_000
    assert await shop.call("echo", value="y" * 3_000_000) == "y" * 3_000_000


async def test_a_cancel_ends_the_whole_group_and_lets_the_function_clean_up(shop: Workshop, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    calling = asyncio.create_task(shop.pool.call(shop.spec("hang", path=str(note))))
    await until(lambda: note.exists() and note.read_text().endswith("\n"))
    pids = [int(word) for word in note.read_text().split()]
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.timeout(DEADLINE_S):
            await calling
    assert calling.cancelled()
    assert not any(alive(pid) for pid in pids)
    assert (tmp_path / "pids.cleaned").read_text() == "yes"
    assert shop.pool.pids == []
    assert (await shop.call("add", a=1, b=1))["sum"] == 2


async def test_at_most_size_workers_at_once(shop: Workshop) -> None:
    answers = await asyncio.gather(*(shop.call("add", a=n, b=0) for n in range(20)))
    assert [answer["sum"] for answer in answers] == list(range(20))
    assert 1 <= len(shop.pool.pids) <= 2


async def test_another_folder_gets_another_worker_and_takes_the_place_of_an_idle_one(shop: Workshop, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "tasks.py").write_text("def add(a, b): return 'other'\n")
    third = tmp_path / "third"
    third.mkdir()
    (third / "tasks.py").write_text("def add(a, b): return 'third'\n")
    assert (await shop.call("add", a=1, b=2))["sum"] == 3
    assert await shop.call("add", other, a=1, b=2) == "other"
    assert await shop.call("add", third, a=1, b=2) == "third"
    assert len(shop.pool.pids) == 2


async def test_a_changed_file_is_read_again(shop: Workshop, tmp_path: Path) -> None:
    assert (await shop.call("count"))[0] == 1
    (tmp_path / "tasks.py").write_text("def count(): return 'new'\n")
    os.utime(tmp_path / "tasks.py", ns=(1, 1))
    assert await shop.call("count") == "new"
    assert not (tmp_path / "__pycache__").exists()


async def test_what_a_call_leaves_behind_ends_with_its_worker(shop: Workshop) -> None:
    pid = await shop.call("litter")
    assert pid not in shop.pool.pids and not alive(pid)


async def test_a_worker_is_replaced_after_many_calls_or_much_memory(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(CODE)
    shop = Workshop(tmp_path, 1, max_calls=3, max_growth_bytes=30_000_000)
    pids = [(await shop.call("count"))[1] for _ in range(6)]
    assert len(set(pids)) == 2 and pids[0] == pids[2]
    first = (await shop.call("count"))[1]
    assert await shop.call("grow") == first
    assert not alive(first)
    await shop.close()


async def test_an_idle_worker_goes_away(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(CODE)
    shop = Workshop(tmp_path, 1, idle_s=0.05)
    pid = (await shop.call("count"))[1]
    await until(lambda: shop.pool.pids == [])
    assert not alive(pid)
    assert (await shop.call("count"))[0] == 1
    await shop.close()


async def test_secrets_and_cap_hold_for_prints(shop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        textwrap.dedent("""
        def speak(secret):
            print("a", secret)
            print("z" * 5000)
        """)
    )
    spec = shop.spec("loud:speak", secret="hush-hush-1")
    fields = {name: getattr(spec, name) for name in spec.__struct_fields__}
    await shop.pool.call(PythonCall(**{**fields, "redact": ("hush-hush-1",), "max_log_bytes": 1000}))
    assert shop.out().startswith("a *******\nzzz") and "output cut here" in shop.out() and len(shop.out()) < 1200


async def test_closing_ends_calls_that_run(shop: Workshop, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    calling = asyncio.create_task(shop.pool.call(shop.spec("hang", path=str(note))))
    await until(lambda: note.exists() and note.read_text().endswith("\n"))
    async with asyncio.timeout(DEADLINE_S):
        await shop.pool.close(5)
        with pytest.raises(StepFailed, match=f"exit code {128 + signal.SIGTERM}"):
            await calling
        with pytest.raises(StepFailed, match="the server is stopping"):
            await shop.call("count")
