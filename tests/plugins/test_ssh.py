"""Commands and scripts on a real OpenSSH server on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from astrarium.plugins.steps.ssh import STEP
from astrarium.runs.ports import Result, StepFailed
from tests.contracts.step import FakeTry
from tests.sshd import PrivateSshd

pytestmark = pytest.mark.net


@pytest.fixture
def there(sshd: PrivateSshd) -> dict[str, Any]:
    """How to reach the server."""
    return {
        "user": sshd.user, "host": "127.0.0.1", "port": str(sshd.port), "key": str(sshd.key), "known_hosts": str(sshd.known_hosts),
    }  # fmt: skip


async def until(path: Path) -> str:
    """What a remote command has written, once it has."""
    async with asyncio.timeout(20):
        while not path.exists() or not path.read_text().endswith("\n"):
            await asyncio.sleep(0.01)
    return path.read_text().strip()


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


async def test_output_and_variables(ctx: FakeTry, there: dict[str, Any]) -> None:
    ctx.variables |= {"WHO": "anna", "PORT": there["port"]}
    result = await ctx.run(STEP, **{**there, "port": "$PORT"}, commands=["echo hello $WHO; echo bad >&2", "echo two"])
    assert result == Result(exit_code=0)
    assert (ctx.out, ctx.err) == ("hello anna\ntwo\n", "bad\n")


async def test_the_exit_code_ends_the_commands(ctx: FakeTry, there: dict[str, Any]) -> None:
    result = await ctx.run(STEP, **there, commands=["echo one", "echo why >&2; exit 7", "echo never"])
    assert (result.outcome, result.exit_code, ctx.out) == ("failed", 7, "one\n")
    assert result.error.startswith(f"{there['user']}@127.0.0.1:{there['port']}: exit code 7") and result.error.endswith("why")


async def test_a_command_ended_by_a_signal(ctx: FakeTry, there: dict[str, Any]) -> None:
    result = await ctx.run(STEP, **there, commands=["kill -9 $$"])
    assert (result.outcome, result.exit_code) == ("failed", 137) and "signal 9" in result.error


async def test_a_shell(ctx: FakeTry, there: dict[str, Any]) -> None:
    result = await ctx.run(STEP, **there, shell=["sh", "-e"], commands=["false; echo never", "x"])
    assert (result.exit_code, ctx.out) == (1, "")
    assert (await ctx.run(STEP, **there, shell=["sh", "-e"], commands=['echo "it\'s" | tr a-z A-Z'])).exit_code == 0
    assert ctx.out == "IT'S\n"


async def test_scripts(ctx: FakeTry, there: dict[str, Any]) -> None:
    ctx.variables["N"] = "3"
    assert (
        await ctx.run(STEP, **there, command="python3", script="import sys\nprint($N * 2, sys.stdin.read() == '')")
    ).exit_code == 0
    assert (await ctx.run(STEP, **there, script="#!/usr/bin/env python3\nprint(__file__)")).exit_code == 0
    assert (await ctx.run(STEP, **there, script="cat\necho $0; exit 4")).exit_code == 4
    first, made, own = ctx.out.splitlines()
    assert first == "6 True"
    assert not Path(made).exists() and not Path(own).exists()


async def test_many_bytes_of_any_value(ctx: FakeTry, there: dict[str, Any]) -> None:

    command = "python3 -c 'import sys; sys.stdout.buffer.write(bytes([0, 255, 128, 10, 13]) * 400_000)'"
    assert (await ctx.run(STEP, **there, commands=[command])).exit_code == 0
    assert ctx.stdout.read_bytes() == b"\0\xff\x80\n\r" * 400_000


async def test_secrets_and_the_cap_of_the_log(ctx: FakeTry, there: dict[str, Any]) -> None:
    ctx.redact = ("s3cret-value",)
    await ctx.run(STEP, **there, commands=["printf s3cret; sleep 0.05; echo -value"])
    assert ctx.out == "*******\n"
    ctx.max_log_bytes = 100
    await ctx.run(STEP, **there, commands=["head -c 100000 /dev/zero | tr '\\0' x"])
    assert ctx.out.startswith("*******\nx") and "cut here" in ctx.out and ctx.stdout.stat().st_size < 300


async def test_merged_output(ctx: FakeTry, there: dict[str, Any]) -> None:
    ctx.stderr = ctx.stdout
    await ctx.run(STEP, **there, commands=["echo a; echo b >&2"])
    assert sorted(ctx.out.split()) == ["a", "b"]


async def test_a_stop_signals_the_remote_processes(ctx: FakeTry, there: dict[str, Any], tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    running = asyncio.create_task(ctx.run(STEP, **there, commands=[f"sleep 300 & echo $! > {mark}; wait"]))
    pid = int(await until(mark))
    await ctx.stop()
    result = await running
    assert result.outcome == "failed" and result.exit_code == 143
    await gone(pid)


async def test_what_ignores_the_signal_is_killed(ctx: FakeTry, there: dict[str, Any], tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    command = f"trap '' TERM; echo $$ > {mark}; while :; do sleep 300; done"
    running = asyncio.create_task(ctx.run(STEP, **there, shell=["sh"], commands=[command]))
    pid = int(await until(mark))
    await ctx.stop(signal.SIGTERM, 600)
    await ctx.stop(signal.SIGTERM, 0.05)  # a second stop shortens the grace
    assert (await running).exit_code == 137
    await gone(pid)


async def test_a_stopped_script_leaves_no_file(ctx: FakeTry, there: dict[str, Any], tmp_path: Path) -> None:
    mark = tmp_path / "own"
    running = asyncio.create_task(ctx.run(STEP, **there, script=f"echo $0 > {mark}\nsleep 300"))
    own = Path(await until(mark))
    assert own.exists()
    await ctx.stop()
    assert (await running).exit_code == 143
    assert not own.exists()


async def test_the_next_command_does_not_begin_after_a_stop(ctx: FakeTry, there: dict[str, Any], tmp_path: Path) -> None:
    ctx.stopping.set()
    result = await ctx.run(STEP, **there, commands=[f"touch {tmp_path / 'made'}"])
    assert result.outcome == "cancelled" and not (tmp_path / "made").exists()


async def test_a_lost_connection_is_told(ctx: FakeTry, there: dict[str, Any], tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    running = asyncio.create_task(ctx.run(STEP, **there, commands=[f"echo $PPID > {mark}; sleep 300"]))
    os.kill(int(await until(mark)), signal.SIGKILL)
    with pytest.raises(StepFailed, match="connection was lost"):
        await running


async def test_who_is_not_let_in(ctx: FakeTry, there: dict[str, Any], sshd: PrivateSshd) -> None:
    with pytest.raises(StepFailed, match=r"permission denied with the key .*stranger; check user, key and password"):
        await ctx.run(STEP, **{**there, "key": str(sshd.stranger)}, commands=["true"])
    with pytest.raises(StepFailed, match="permission denied with the password"):
        await ctx.run(STEP, **{**there, "key": "", "password": "guess"}, commands=["true"])


async def test_a_host_that_is_not_known(ctx: FakeTry, there: dict[str, Any], sshd: PrivateSshd, tmp_path: Path) -> None:
    for known in (sshd.other_hosts, tmp_path / "none"):
        with pytest.raises(StepFailed, match=r"key is not trusted: .* `ssh-keyscan -p \d+ 127.0.0.1 >> ") as caught:
            await ctx.run(STEP, **{**there, "known_hosts": str(known)}, commands=["true"])
        assert "strictHostKey: false" in str(caught.value)
    unchecked = {**there, "known_hosts": str(tmp_path / "none"), "strict_host_key": False}
    assert (await ctx.run(STEP, **unchecked, commands=["true"])).exit_code == 0


async def test_keys_that_cannot_be_used(ctx: FakeTry, there: dict[str, Any], sshd: PrivateSshd, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key")
    bad = {tmp_path / "gone": "cannot read the key", sshd.folder / "locked": "passphrase", tmp_path / "text": "not a private key"}
    for key, why in bad.items():
        with pytest.raises(StepFailed, match=why):
            await ctx.run(STEP, **{**there, "key": str(key)}, commands=["true"])


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"port": "1"}, "cannot connect"),
        ({"port": "x"}, "`port` must be a number"),
        ({"port": "99999"}, "`port` must be a number"),
        ({"host": ""}, "one of them is empty"),
        ({"host": "no.such.host.invalid"}, "cannot connect"),
    ],
)
async def test_what_cannot_be_reached(ctx: FakeTry, there: dict[str, Any], told: dict[str, Any], why: str) -> None:
    with pytest.raises(StepFailed, match=why):
        await ctx.run(STEP, **{**there, **told}, commands=["true"])


async def test_a_server_that_says_nothing(ctx: FakeTry, there: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program listens there and never greets."""
    monkeypatch.setattr("astrarium.plugins.steps.ssh.CONNECT_TIMEOUT_S", 0.2)
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = str(silent.sockets[0].getsockname()[1])
    with pytest.raises(StepFailed, match=r"no connection within 0\.2 s"):
        await ctx.run(STEP, **{**there, "port": port}, commands=["true"])
    silent.close()
