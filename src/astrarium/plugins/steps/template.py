"""`template`: a text with fields of the state in it becomes a field (Stargraph 0.8: contract 12)."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Result, StepFailed, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema, fill


class TemplateParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{field}` in `template` is the value of a field; the text goes into the field `out`."""

    template: str
    out: str


class Template:
    """A field the state does not have breaks the run."""

    kind: ClassVar[str] = "template"
    Params: ClassVar[type[msgspec.Struct]] = TemplateParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind(config=config_schema(TemplateParams), writes=("out",))

    def run(self, ctx: TryContext, params: TemplateParams) -> Result:
        try:
            return Result(patch={params.out: fill(params.template, ctx.state)})
        except StepFailed as error:
            return Result("broken", error=str(error), code=error.code)


STEP = Template()
