"""`halt`: a place in a graph and nothing more (Stargraph 0.8: contract 12)."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Result, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema


class HaltParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Takes no configuration."""


class Halt:
    """Marks an end a rule sends runs to; it does nothing itself."""

    kind: ClassVar[str] = "halt"
    Params: ClassVar[type[msgspec.Struct]] = HaltParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind(config=config_schema(HaltParams))

    def run(self, ctx: TryContext, params: HaltParams) -> Result:
        return Result()


STEP = Halt()
