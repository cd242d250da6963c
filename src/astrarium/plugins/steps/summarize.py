"""`summarize`: a model puts the input into fewer words (Stargraph 0.8: contract 12)."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Prompt, Result, StepFailed, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema
from .lm import LmParams, Told, ask, broken, conclude, messages


class SummarizeParams(LmParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Takes nothing besides what all nodes that ask a model take."""


class Summarize:
    """Output: `summary`, a text; its words can be followed as they come."""

    kind: ClassVar[str] = "summarize"
    Params: ClassVar[type[msgspec.Struct]] = SummarizeParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind("read", config_schema(SummarizeParams), writes=("out",))

    async def run(self, ctx: TryContext, params: SummarizeParams) -> Result:
        try:
            asked = Prompt(tuple(messages(ctx, params, "Summarize the input. Answer with the summary alone.")))
            answer = await ask(ctx, params, asked)
        except StepFailed as error:
            return broken(error)
        return conclude(ctx, params, Told({"summary": answer.text.strip()}, answer.tokens), "summary")


STEP = Summarize()
