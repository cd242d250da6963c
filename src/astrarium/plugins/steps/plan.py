"""`plan`: a model breaks a goal down into tasks (Stargraph 0.8: contract 12)."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Result, StepFailed, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema
from .lm import LmParams, Told, ask_json, broken, conclude


class PlanParams(LmParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Takes nothing besides what all nodes that ask a model take."""


class Plan:
    """Output: `tasks`, a list of texts."""

    kind: ClassVar[str] = "plan"
    Params: ClassVar[type[msgspec.Struct]] = PlanParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind("read", config_schema(PlanParams), writes=("out",))

    async def run(self, ctx: TryContext, params: PlanParams) -> Result:
        task = "Break the goal down into tasks, in the order in which they are to be done."
        properties = {"tasks": {"type": "array", "items": {"type": "string"}}}
        try:
            given, tokens = await ask_json(ctx, params, task, properties)
        except StepFailed as error:
            return broken(error)
        return conclude(ctx, params, Told(given, tokens), "tasks")


STEP = Plan()
