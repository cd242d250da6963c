"""`python`: a function by import path, called in a warm worker process.

The DAG's folder comes first on the import path. What the function returns (anything JSON can say) is the step's output: a text
as it is, anything else as JSON; without a return value, what it printed is.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from ...runs.ports import Result, TryContext


class PythonParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`call` is `module:function`, `args` its keyword arguments; texts inside them are expanded."""

    call: str
    args: dict[str, Any] = {}


async def expand_inside(ctx: TryContext, value: Any) -> Any:
    """`value` with every text in it expanded, whatever its depth."""
    if isinstance(value, str):
        return await ctx.expand(value)
    if isinstance(value, dict):
        return {key: await expand_inside(ctx, item) for key, item in value.items()}
    if isinstance(value, list):
        return [await expand_inside(ctx, item) for item in value]
    return value


class Python:
    """Calls the function; coroutine functions are awaited."""

    kind: ClassVar[str] = "python"
    Params: ClassVar[type[msgspec.Struct]] = PythonParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = "python"
    captures: ClassVar[bool] = True

    async def run(self, ctx: TryContext, params: PythonParams) -> Result:
        value = await ctx.call_python(params.call, await expand_inside(ctx, params.args))
        patch = value if isinstance(value, dict) and ctx.graph.router == "rules" else None
        if value is None or isinstance(value, str):
            return Result(output=value, patch=patch)
        return Result(output=msgspec.json.encode(value).decode(), patch=patch)


STEP = Python()
