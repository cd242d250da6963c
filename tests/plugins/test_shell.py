"""Commands, scripts, shells and interpreters."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from astrarium.plugins.steps.shell import STEP, choose_shell, interpreter_of
from astrarium.runs.ports import Result, StepFailed
from astrarium.spec.graph import Graph
from tests.contracts.step import FakeTry


def test_the_nearest_shell_wins_and_unix_shells_stop_at_errors() -> None:
    env = {"SHELL": "/bin/zsh"}
    assert choose_shell(("bash",), ("sh",), env) == ("bash", "-e")
    assert choose_shell((), ("/bin/dash",), env) == ("/bin/dash", "-e")
    assert choose_shell((), (), env) == ("/bin/zsh", "-e")
    assert choose_shell((), (), {"DAGU_DEFAULT_SHELL": "bash -o pipefail", **env}) == ("bash", "-e", "-o", "pipefail")
    assert choose_shell((), (), {}) == ("sh", "-e")
    assert choose_shell(("bash", "-u"), (), env) == ("bash", "-u")
    assert choose_shell((), ("bash", "-e"), env) == ("bash", "-e")
    assert choose_shell(("fish",), (), env) == ("fish",)


def test_a_shebang_is_cut_as_the_kernel_cuts_it() -> None:
    assert interpreter_of("#!/usr/bin/env -S python -u\nx") == ("/usr/bin/env", "-S python -u")
    assert interpreter_of("#! /bin/sh") == ("/bin/sh",)
    assert interpreter_of("echo #!x") == ()


async def test_a_command_uses_the_shell(ctx: FakeTry) -> None:
    ctx.variables["NAME"] = "Ann"
    assert await ctx.run(STEP, commands=["echo hello $NAME | tr a-z A-Z"]) == Result(exit_code=0)
    assert ctx.out == "HELLO ANN\n"


async def test_commands_run_in_order_up_to_the_first_that_fails(ctx: FakeTry) -> None:
    result = await ctx.run(STEP, commands=["echo one", "echo bad >&2; exit 3", "echo three"])
    assert (result.outcome, result.exit_code, ctx.out) == ("failed", 3, "one\n")
    assert result.error == "exit code 3\nbad"


async def test_a_failing_part_of_a_command_ends_it(ctx: FakeTry) -> None:
    result = await ctx.run(STEP, commands=["false; echo never"])
    assert result.exit_code == 1 and ctx.out == ""


async def test_own_flags_switch_that_off(ctx: FakeTry) -> None:
    assert (await ctx.run(STEP, commands=["false; echo still"], shell=["sh", "-u"])).outcome == "succeeded"
    assert ctx.out == "still\n"


async def test_the_graphs_shell(ctx: FakeTry) -> None:
    ctx.graph = Graph(name="dag", shell=("sh", "-u"))
    result = await ctx.run(STEP, commands=["echo $NOT_SET_ANYWHERE"])
    assert result.outcome == "failed"
    assert ctx.ran == [("sh", "-e", "-u", "-c", "echo $NOT_SET_ANYWHERE")]


async def test_a_script_lies_in_the_working_folder_and_is_removed(ctx: FakeTry, tmp_path: Path) -> None:
    ctx.variables["X"] = "42"
    result = await ctx.run(STEP, script='echo ${X}\nls -A "$PWD" | grep -c astrarium-script\nfalse\necho never')
    assert result.exit_code == 1
    assert ctx.out == "42\n1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


async def test_an_interpreter_gets_the_script_as_its_argument(ctx: FakeTry) -> None:
    await ctx.run(STEP, command=f"{sys.executable} -I", script="import sys\nprint(len(sys.argv), 'quote \\'')")
    assert ctx.out == "1 quote '\n"


async def test_an_interpreter_may_come_from_the_environment(ctx: FakeTry) -> None:
    ctx.env = {**ctx.env, "PYTHON": sys.executable}
    await ctx.run(STEP, command="$PYTHON -I", script="print(6 * 7)")
    assert ctx.out == "42\n"


async def test_a_shebang_is_honoured_unless_the_step_sets_a_shell(ctx: FakeTry) -> None:
    script = f"#!{sys.executable} -I\nprint('python')"
    await ctx.run(STEP, script=script)
    assert ctx.out == "python\n"
    assert (await ctx.run(STEP, script=script, shell=["sh"])).outcome == "failed"


async def test_a_command_of_several_lines_is_a_script(ctx: FakeTry) -> None:
    await ctx.run(STEP, commands=["cat <<X\none\nX\necho two"])
    assert ctx.out == "one\ntwo\n"


async def test_direct_has_no_shell(ctx: FakeTry) -> None:
    ctx.env = {**ctx.env, "WHO": "a b"}
    await ctx.run(STEP, commands=["echo '$(id)' ; $WHO $UNKNOWN"], shell=["direct"])
    assert ctx.out == "$(id) ; a b $UNKNOWN\n"


async def test_what_cannot_be_split_says_so(ctx: FakeTry) -> None:
    with pytest.raises(StepFailed, match="No closing quotation"):
        await ctx.run(STEP, commands=["echo 'open"], shell=["direct"])


async def test_a_command_the_shell_does_not_find_is_127(ctx: FakeTry) -> None:
    result = await ctx.run(STEP, commands=["no-such-command-here"])
    assert result.exit_code == 127
    assert "not found" in result.error and "no-such-command-here" in result.error


async def test_a_program_that_is_not_there_is_127(ctx: FakeTry) -> None:
    for params in ({"commands": ["no-such-program x"], "shell": ["direct"]}, {"command": "no-such-program", "script": "x"}):
        with pytest.raises(StepFailed, match="no-such-program: program not found in PATH=") as caught:
            await ctx.run(STEP, **params)
        assert caught.value.exit_code == 127
    assert ctx.err.count("program not found") == 2


async def test_a_program_that_cannot_be_started_is_126(ctx: FakeTry, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    with pytest.raises(StepFailed, match="plain: program is not executable") as caught:
        await ctx.run(STEP, command="./plain", script="x")
    assert caught.value.exit_code == 126
    (tmp_path / "plain").chmod(0o755)
    with pytest.raises(StepFailed, match="needs a first line") as caught:
        await ctx.run(STEP, command="./plain", script="x")
    assert caught.value.exit_code == 126


async def test_the_error_ends_with_the_last_lines_of_this_trys_stderr(ctx: FakeTry) -> None:
    ctx.write("from before\n", error=True)
    result = await ctx.run(STEP, commands=["for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 9"])
    assert result.error == "exit code 9\nline 3\nline 4\nline 5\nline 6\nline 7"


async def test_after_a_stop_no_further_command_starts(ctx: FakeTry) -> None:
    running = asyncio.create_task(ctx.run(STEP, commands=["true", "echo never"]))
    ctx.stopping.set()
    assert (await running).outcome == "cancelled"
    assert ctx.out == ""


async def test_death_by_signal(ctx: FakeTry) -> None:
    result = await ctx.run(STEP, commands=["kill -9 $$"])
    assert result.exit_code == 128 + signal.SIGKILL
    assert result.error.startswith("ended by signal 9")


async def test_a_script_keeps_its_bytes(ctx: FakeTry) -> None:
    await ctx.run(STEP, script="printf 'é\\n'\r\n".replace("\r", ""))
    assert ctx.out == "é\n"
    assert os.path.isdir(ctx.workdir)
