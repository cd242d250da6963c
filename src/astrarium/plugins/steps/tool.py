"""`tool`: one call of an installed tool (Stargraph 0.8: contract 11.8)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from ...runs.ports import Called, Result, Spawn, StepOutcome, TryContext
from .filling import fitting

REPLAY_MISSING = "replay_missing"


class ToolParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tool` is `namespace.name@version`; `inputs`: argument → field of the state, `static`: argument → value; the result goes into the
    field `out`."""

    tool: str
    inputs: dict[str, str] = {}
    static: dict[str, Any] = {}
    out: str = ""


def outcome_of(called: Called) -> StepOutcome:
    """What the run's own rules refuse fails it, everything else breaks it."""
    return "succeeded" if called.ok else "failed" if called.code == REPLAY_MISSING else "broken"


class ToolCall:
    """A call whose worker died is not made again: nobody knows how far it came."""

    kind: ClassVar[str] = "tool"
    Params: ClassVar[type[msgspec.Struct]] = ToolParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: ToolParams) -> Result:
        args = {name: ctx.state[field] for name, field in params.inputs.items() if field in ctx.state}
        called = await ctx.call_tool(params.tool, {**args, **params.static}, waits=True)
        if not called.ok:
            return Result(outcome_of(called), error=called.error, code=called.code, said=called.said)
        if isinstance(called.result, Spawn):
            fields = {params.out: ""} if params.out else {}
            return Result(spawn=msgspec.structs.replace(called.result, fields=fields), said=called.said)
        return Result(patch=fitting(ctx, {params.out: called.result}) if params.out else None, said=called.said)


STEP = ToolCall()
