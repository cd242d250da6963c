"""`code`: a model writes a Python program for the input, and it is run (Stargraph 0.8: contract 12).

The program is what a model wrote, from an input that may be a stranger's: it runs only where runs have the permission `tools:std:exec`, as
a process of the try, in the run's own folder, without the server's variables. It is not walled in otherwise."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from ...runs.ports import Prompt, Result, StepFailed, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema
from .lm import LmParams, Told, ask, broken, conclude, messages, read_code

PERMISSION = "tools:std:exec"
TOOL = "std.python_exec@1"
MOST_TIMEOUT_S = 600
TASK = "Write a Python program that answers the input and prints the answer alone. Use the standard library only. Answer with the program."


class CodeParams(LmParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`timeout_s`: how long the program may run, at most 600."""

    timeout_s: int = 60

    def __post_init__(self) -> None:
        if not 1 <= self.timeout_s <= MOST_TIMEOUT_S:
            raise ValueError(f"timeout_s is 1 to {MOST_TIMEOUT_S}, not {self.timeout_s}")


class Code:
    """Outputs: `answer` (what the program printed), `code`."""

    kind: ClassVar[str] = "code"
    Params: ClassVar[type[msgspec.Struct]] = CodeParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = "process"
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind("external", config_schema(CodeParams), writes=("out",), permissions=(PERMISSION,))

    async def run(self, ctx: TryContext, params: CodeParams) -> Result:
        try:
            answer = await ask(ctx, params, Prompt(tuple(messages(ctx, params, TASK))))
        except StepFailed as error:
            return broken(error)
        program = read_code(answer.text)
        called = await ctx.call_tool(TOOL, {"code": program, "timeout_s": params.timeout_s})
        if not called.ok:
            return Result("failed" if called.code == "replay_missing" else "broken", error=called.error, code=called.code)
        given: dict[str, Any] = called.result
        if given["exit_code"]:
            said = f"the program ended with exit code {given['exit_code']}: {given['stderr'][-500:]}"
            return Result("broken", error=said, code="ProgramFailed")
        outputs = {"answer": given["stdout"].strip(), "code": program}
        return conclude(ctx, params, Told(outputs, answer.tokens, called.said), "answer")


STEP = Code()
