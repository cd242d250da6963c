"""`judge`: a model judges the input by a rubric (Stargraph 0.8: contract 12)."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Result, StepFailed, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema
from .lm import LmParams, Told, ask_json, broken, conclude


class JudgeParams(LmParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`labels`: the verdicts there are, the better ones first."""

    rubric: str
    labels: tuple[str, ...] = ("pass", "fail")


class Judge:
    """Outputs: `verdict`, `score` (0 to 1), `rationale`."""

    kind: ClassVar[str] = "judge"
    Params: ClassVar[type[msgspec.Struct]] = JudgeParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind("read", config_schema(JudgeParams), writes=("out",))

    async def run(self, ctx: TryContext, params: JudgeParams) -> Result:
        task = f"Judge the input by this rubric:\n{params.rubric}\n\nGive a verdict, a score (0 to 1) and the reason, briefly."
        properties = {
            "verdict": {"enum": list(params.labels)},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "rationale": {"type": "string"},
        }
        try:
            given, tokens = await ask_json(ctx, params, task, properties)
        except StepFailed as error:
            return broken(error)
        return conclude(ctx, params, Told(given, tokens), "verdict")


STEP = Judge()
