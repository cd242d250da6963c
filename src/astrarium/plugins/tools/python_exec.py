"""`std.python_exec`: a Python program, as a process of the try. It can do what the server's user can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...runs.ports import ToolSpec, TryContext
from .process import MOST_S, run_python


class PythonExec:
    spec = ToolSpec(
        "python_exec",
        "std",
        description="Runs a Python program and gives what it prints.",
        input_schema={
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "timeout_s": {"type": "integer", "minimum": 1, "maximum": MOST_S, "default": 30},
            },
            "required": ["code"],
            "additionalProperties": False,
        },
        output_schema={
            "type": "object",
            "properties": {"exit_code": {"type": "integer"}, "stdout": {"type": "string"}, "stderr": {"type": "string"}},
        },
        side_effects="external",
        permissions=("tools:std:exec",),
        tags=("programs",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        return await run_python(ctx, args["code"], args.get("timeout_s", 30))


TOOL = PythonExec()
