"""`std.shell`: a command of the shell, as a process of the try. It can do what the server's user can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...runs.ports import ToolSpec, TryContext
from .process import MOST_S, run_shell


class Shell:
    spec = ToolSpec(
        "shell",
        "std",
        description="Runs a command of the shell and gives what it prints.",
        input_schema={
            "type": "object",
            "properties": {
                "command": {"type": "string"},
                "timeout_s": {"type": "integer", "minimum": 1, "maximum": MOST_S, "default": 30},
            },
            "required": ["command"],
            "additionalProperties": False,
        },
        output_schema={
            "type": "object",
            "properties": {"exit_code": {"type": "integer"}, "stdout": {"type": "string"}, "stderr": {"type": "string"}},
        },
        side_effects="external",
        permissions=("tools:std:shell",),
        tags=("programs",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        return await run_shell(ctx, args["command"], args.get("timeout_s", 30))


TOOL = Shell()
