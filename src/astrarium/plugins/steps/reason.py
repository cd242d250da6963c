"""`reason`: a model thinks a question through (Stargraph 0.8: contract 12)."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Result, StepFailed, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema
from .lm import LmParams, Told, ask_json, broken, conclude


class ReasonParams(LmParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Takes nothing besides what all nodes that ask a model take."""


class Reason:
    """Outputs: `rationale`, `answer`."""

    kind: ClassVar[str] = "reason"
    Params: ClassVar[type[msgspec.Struct]] = ReasonParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind("read", config_schema(ReasonParams), writes=("out",))

    async def run(self, ctx: TryContext, params: ReasonParams) -> Result:
        task = "Think the question through step by step, then answer it."
        properties = {"rationale": {"type": "string"}, "answer": {"type": "string"}}
        try:
            given, tokens = await ask_json(ctx, params, task, properties)
        except StepFailed as error:
            return broken(error)
        return conclude(ctx, params, Told(given, tokens), "answer")


STEP = Reason()
