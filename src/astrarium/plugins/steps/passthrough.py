"""`passthrough`: a place in a graph and nothing more (Stargraph 0.8: contract 12)."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Result, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema


class PassthroughParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Takes no configuration."""


class Passthrough:
    """Does nothing; the run goes on."""

    kind: ClassVar[str] = "passthrough"
    Params: ClassVar[type[msgspec.Struct]] = PassthroughParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind(config=config_schema(PassthroughParams))

    def run(self, ctx: TryContext, params: PassthroughParams) -> Result:
        return Result()


STEP = Passthrough()
