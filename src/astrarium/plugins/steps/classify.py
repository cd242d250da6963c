"""`classify`: a model chooses one of some labels (Stargraph 0.8: contract 12)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from ...runs.ports import Result, StepFailed, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema
from .lm import LmParams, Told, ask_json, broken, conclude


class ClassifyParams(LmParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`labels`: what is chosen from, by name, or name and what it means."""

    labels: list[str] | dict[str, str]


class Classify:
    """Outputs: `verdict`, `confidence` (0 to 1), `rationale`."""

    kind: ClassVar[str] = "classify"
    Params: ClassVar[type[msgspec.Struct]] = ClassifyParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind("read", config_schema(ClassifyParams), writes=("out",))

    async def run(self, ctx: TryContext, params: ClassifyParams) -> Result:
        try:
            given, tokens = await ask_json(ctx, params, task_of(params), properties_of(params))
        except StepFailed as error:
            return broken(error)
        return conclude(ctx, params, Told(given, tokens), "verdict")


def task_of(params: ClassifyParams) -> str:
    labels = params.labels
    told = (
        [f"- {name}: {meaning}" for name, meaning in labels.items()]
        if isinstance(labels, dict)
        else [f"- {one}" for one in labels]
    )
    return "\n".join(
        ["Decide which one of these labels fits the input:", *told, "Say how sure you are (0 to 1) and why, briefly."]
    )


def properties_of(params: ClassifyParams) -> dict[str, Any]:
    return {
        "verdict": {"enum": list(params.labels)},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "rationale": {"type": "string"},
    }


STEP = Classify()
