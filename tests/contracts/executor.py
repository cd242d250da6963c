"""What every executor promises (`runs.ports.Executor`). A subclass gives the fixture `executor`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from astrarium.runs.ports import Executor, Exit, ProcessSpec

DEADLINE_S = 20.0


async def until(holds: Callable[[], object]) -> None:
    """Poll a condition with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def own_zombies() -> list[int]:
    return [child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


class ExecutorContract:
    @pytest.fixture
    def executor(self) -> Executor:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    async def _room(self, executor: Executor, tmp_path: Path) -> AsyncIterator[None]:
        self.executor = executor
        self.folder = tmp_path
        yield
        await executor.close(0)
        assert own_zombies() == []

    def spec(self, *argv: str, **fields: object) -> ProcessSpec:
        given = {
            "env": {"PATH": os.environ["PATH"]},
            "cwd": self.folder,
            "stdout": self.folder / "logs" / "x.out",
            "stderr": self.folder / "logs" / "x.err",
            "tag": f"try-{self.folder.name}",
            **fields,
        }
        return ProcessSpec(argv=argv, **given)  # type: ignore[arg-type]

    def sh(self, script: str, **fields: object) -> ProcessSpec:
        return self.spec("sh", "-c", script, **fields)

    async def end(self, spec: ProcessSpec) -> Exit:
        async with asyncio.timeout(DEADLINE_S):
            return await (await self.executor.start(spec)).wait()

    def out(self) -> bytes:
        return (self.folder / "logs" / "x.out").read_bytes()

    def err(self) -> bytes:
        return (self.folder / "logs" / "x.err").read_bytes()

    async def pid_in(self, name: str) -> int:
        """The number a script wrote (in one piece) to a file of the working folder."""
        path = self.folder / name
        await until(lambda: path.exists() and path.read_text().endswith("\n"))
        return int(path.read_text())

    # exit codes and streams

    @pytest.mark.parametrize("code", [0, 1, 7, 255])
    async def test_exit_code(self, code: int) -> None:
        assert await self.end(self.sh(f"exit {code}")) == Exit(code)

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
    async def test_death_by_signal_is_128_more(self, signum: int) -> None:
        assert await self.end(self.sh(f"kill -{int(signum)} $$")) == Exit(128 + signum, signum)

    async def test_streams_cwd_and_environment(self) -> None:
        assert await self.end(self.sh('echo "$A"; pwd >&2', env={"A": "é", "PATH": os.environ["PATH"]})) == Exit(0)
        assert self.out() == "é\n".encode()
        assert self.err().decode().strip() == os.path.realpath(self.folder)

    async def test_files_are_appended_to(self) -> None:
        for word in ("one", "two"):
            await self.end(self.sh(f"echo {word}"))
        assert self.out() == b"one\ntwo\n"

    async def test_without_stderr_both_streams_share_a_file_in_order(self) -> None:
        await self.end(self.sh("echo a; echo b >&2; echo c", stderr=None))
        assert self.out() == b"a\nb\nc\n"

    @pytest.mark.parametrize("redact", [(), ("unlikely-secret",)])
    async def test_stdin_of_any_size_and_empty_otherwise(self, redact: tuple[str, ...]) -> None:
        await self.end(self.spec("cat", stdin=b"x" * 300_000, redact=redact))
        assert self.out() == b"x" * 300_000
        assert await self.end(self.spec("cat")) == Exit(0)

    @pytest.mark.parametrize("redact", [(), ("unlikely-secret",)])
    async def test_large_binary_output_is_complete_at_the_end(self, redact: tuple[str, ...]) -> None:
        program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 20000)"
        assert await self.end(self.spec(sys.executable, "-Ic", program, redact=redact)) == Exit(0)
        assert self.out() == bytes(range(256)) * 20000

    async def test_many_at_once(self) -> None:
        specs = [self.sh(f"echo {n}; exit {n}", stdout=self.folder / f"{n}.out") for n in range(60)]
        exits = await asyncio.gather(*(self.end(spec) for spec in specs))
        assert [end.code for end in exits] == list(range(60))
        assert [int((self.folder / f"{n}.out").read_text()) for n in range(60)] == list(range(60))

    # what cannot start

    async def test_a_missing_program_is_named_with_the_path_searched(self) -> None:
        with pytest.raises(FileNotFoundError, match=r"program not found in PATH=.*no-such-program"):
            await self.executor.start(self.spec("no-such-program"))

    async def test_a_missing_folder_is_named(self) -> None:
        with pytest.raises(FileNotFoundError, match="working folder does not exist"):
            await self.executor.start(self.sh("true", cwd=self.folder / "nowhere"))

    async def test_a_file_that_is_no_program(self) -> None:
        (self.folder / "data").write_text("hello")
        with pytest.raises(PermissionError, match="not executable"):
            await self.executor.start(self.spec("./data"))

    async def test_a_nul_byte_is_an_os_error(self) -> None:
        with pytest.raises(OSError, match="null"):
            await self.executor.start(self.sh("echo \0"))

    # stopping

    @pytest.mark.parametrize("redact", [(), ("unlikely-secret",)])
    async def test_stop_reaches_the_whole_group(self, redact: tuple[str, ...]) -> None:
        running = await self.executor.start(self.sh("sleep 300 & echo $! > kid; wait", redact=redact))
        kid = await self.pid_in("kid")
        await running.stop(signal.SIGTERM, 60)
        async with asyncio.timeout(DEADLINE_S):
            assert await running.wait() == Exit(128 + signal.SIGTERM, signal.SIGTERM)
        assert not alive(kid)

    async def test_a_stubborn_process_is_killed_after_the_grace(self) -> None:
        running = await self.executor.start(self.sh("trap '' TERM; echo $$ > ready; while :; do sleep 300; done"))
        await self.pid_in("ready")
        await running.stop(signal.SIGTERM, 0.2)
        async with asyncio.timeout(DEADLINE_S):
            assert await running.wait() == Exit(128 + signal.SIGKILL, signal.SIGKILL)

    async def test_a_second_stop_may_shorten_the_grace_never_lengthen_it(self) -> None:
        running = await self.executor.start(self.sh("trap '' TERM; echo $$ > ready; while :; do sleep 300; done"))
        await self.pid_in("ready")
        for grace_s in (500, 0.1, 900):
            await running.stop(signal.SIGTERM, grace_s)
        async with asyncio.timeout(DEADLINE_S):
            assert (await running.wait()).signal == signal.SIGKILL

    async def test_stop_after_the_end_and_wait_twice_do_nothing(self) -> None:
        running = await self.executor.start(self.sh("exit 3"))
        first = await running.wait()
        await running.stop(signal.SIGTERM, 0)
        await running.stop(signal.SIGKILL, 0)
        assert await running.wait() == first == Exit(3)

    async def test_a_process_may_end_itself_in_its_own_way(self) -> None:
        script = "trap 'echo bye; exit 9' INT; echo $$ > ready; while :; do sleep 0.01; done"
        running = await self.executor.start(self.sh(script))
        await self.pid_in("ready")
        await running.stop(signal.SIGINT, 60)
        async with asyncio.timeout(DEADLINE_S):
            assert await running.wait() == Exit(9)
        assert self.out() == b"bye\n"

    async def test_a_child_keeps_the_grace_when_its_shell_dies_at_once(self) -> None:
        child = "trap 'sleep 0.2; echo cleaned; exit' TERM; echo $$ > ready; while :; do sleep 0.01; done"
        running = await self.executor.start(
            self.spec("sh", "-c", 'sh -c "$CHILD" & wait', env={"CHILD": child, "PATH": os.environ["PATH"]})
        )
        await self.pid_in("ready")
        await running.stop(signal.SIGTERM, 60)
        async with asyncio.timeout(DEADLINE_S):
            await running.wait()
        assert self.out() == b"cleaned\n"

    # what processes leave

    @pytest.mark.parametrize("redact", [(), ("unlikely-secret",)])
    async def test_what_the_leader_leaves_in_its_group_is_killed(self, redact: tuple[str, ...]) -> None:
        assert await self.end(self.sh("sleep 300 & echo $! > kid; echo done", redact=redact)) == Exit(0)
        assert not alive(await self.pid_in("kid"))
        assert self.out() == b"done\n"

    @pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid")
    async def test_a_grandchild_outside_the_session_does_not_hold_up_the_end(self) -> None:
        script = "setsid sh -c 'echo $$ > kid; exec sleep 300' & while ! test -s kid; do sleep 0.01; done; echo said"
        assert await self.end(self.sh(script, redact=("unlikely-secret",))) == Exit(0)
        assert self.out() == b"said\n"
        os.kill(await self.pid_in("kid"), signal.SIGKILL)

    @pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid")
    async def test_a_stop_finds_who_left_the_session(self) -> None:
        running = await self.executor.start(self.sh("setsid sh -c 'echo $$ > kid; exec sleep 300' & wait; sleep 300"))
        kid = await self.pid_in("kid")
        await running.stop(signal.SIGTERM, 60)
        async with asyncio.timeout(DEADLINE_S):
            await running.wait()
        assert not alive(kid)

    async def test_close_ends_everything_and_then_refuses(self) -> None:
        script = "trap '' TERM; echo $$ > {0}; while :; do sleep 300; done"
        stubborn = await self.executor.start(self.sh(script.format("a")))
        meek = await self.executor.start(self.sh("echo $$ > b; sleep 300"))
        pids = [await self.pid_in(name) for name in ("a", "b")]
        async with asyncio.timeout(DEADLINE_S):
            await self.executor.close(0.2)
            assert (await stubborn.wait()).signal == signal.SIGKILL
            assert (await meek.wait()).signal == signal.SIGTERM
        assert not any(alive(pid) for pid in pids)
        with pytest.raises(OSError, match="closed"):
            await self.executor.start(self.sh("true"))

    # redaction and cap

    async def test_secrets_never_reach_a_file_even_in_pieces(self) -> None:
        script = 'printf "a-%s" topse; sleep 0.05; printf "cret99 b\\n"; printf topsecret99 | base64 >&2'
        assert await self.end(self.sh(script, redact=("topsecret99",))) == Exit(0)
        assert self.out() == b"a-******* b\n"
        assert self.err() == b"*******=\n"

    async def test_a_secret_across_the_pumps_chunks(self) -> None:
        program = "import sys; sys.stdout.write(('.' * 65533 + 'topsecret99') * 3)"
        await self.end(self.spec(sys.executable, "-Ic", program, redact=("topsecret99",)))
        assert self.out() == (b"." * 65533 + b"*******") * 3

    @pytest.mark.parametrize("redact", [(), ("unlikely-secret",)])
    async def test_the_cap_keeps_the_beginning_and_marks_the_cut(self, redact: tuple[str, ...]) -> None:
        spec = self.sh("yes 0123456789abcde | head -c 4000000; exit 5", max_log_bytes=100_000, redact=redact)
        assert await self.end(spec) == Exit(5)
        kept, mark = self.out()[:100_000], self.out()[100_000:]
        assert kept == b"0123456789abcde\n" * 6250
        assert b"output cut here, the log keeps at most 100000 bytes" in mark and len(mark) < 200
        assert self.err() == b""

    @pytest.mark.parametrize("redact", [(), ("unlikely-secret",)])
    async def test_output_of_just_the_cap_is_not_cut(self, redact: tuple[str, ...]) -> None:
        await self.end(self.sh("head -c 1000 /dev/zero", max_log_bytes=1000, redact=redact))
        assert self.out() == bytes(1000)

    async def test_the_cap_never_takes_what_was_there_before(self) -> None:
        (self.folder / "mine.txt").write_bytes(b"m" * 500)
        await self.end(self.sh("head -c 1000 /dev/zero", stdout=self.folder / "mine.txt", max_log_bytes=100))
        assert (self.folder / "mine.txt").read_bytes().startswith(b"m" * 500)

    async def test_a_full_disk_is_the_writers_error_not_ours(self) -> None:
        if not os.path.exists("/dev/full"):
            pytest.skip("needs /dev/full")
        for redact in ((), ("unlikely-secret",)):
            end = await self.end(self.sh("head -c 300000 /dev/zero; exit $?", stdout=Path("/dev/full"), redact=redact))
            assert end.code != 0
