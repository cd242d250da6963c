"""`wait`: the step asks people and waits, holding no worker (Dagu 1.30: type `hitl`).

An approval's inputs become environment of later steps; they are texts.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Ask, Result, TryContext


class WaitParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`input` names what the answer may hold, `required` what it must (a subset)."""

    prompt: str = ""
    input: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        strange = [name for name in self.required if name not in self.input]
        if strange:
            raise ValueError(f"`required` names {strange}, which `input` does not have; add them to `input`")


class Wait:
    """Asks, and ends with the answer."""

    kind: ClassVar[str] = "wait"
    Params: ClassVar[type[msgspec.Struct]] = WaitParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: WaitParams) -> Result:
        schema = {
            "type": "object",
            "properties": {name: {"type": "string"} for name in params.input},
            "required": list(params.required),
            "additionalProperties": False,
        }
        return Result(ask=Ask(prompt=await ctx.expand(params.prompt), schema=schema))


STEP = Wait()
