"""`echo`: shows the field `message`, if the state has one (Stargraph 0.8: contract 12, where it fails without)."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Result, TryContext
from ...spec.ir.installed import Kind
from .filling import as_text, config_schema


class EchoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Takes no configuration."""


class Echo:
    """Changes nothing; the message is the step's output."""

    kind: ClassVar[str] = "echo"
    Params: ClassVar[type[msgspec.Struct]] = EchoParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind(config=config_schema(EchoParams))

    def run(self, ctx: TryContext, params: EchoParams) -> Result:
        return Result(output=as_text(ctx.state["message"])) if "message" in ctx.state else Result()


STEP = Echo()
