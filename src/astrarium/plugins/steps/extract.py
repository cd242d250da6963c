"""`extract`: a model finds the values of some fields in a text (Stargraph 0.8: contract 12)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from ...runs.ports import Result, StepFailed, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema
from .lm import LmParams, Told, ask_json, broken, conclude

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}


class ExtractParams(LmParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`fields`: names of state fields, or names with their types (`str`, `int`, …) or with what is meant by them."""

    fields: list[str] | dict[str, str]


class Extract:
    """Outputs: the fields."""

    kind: ClassVar[str] = "extract"
    Params: ClassVar[type[msgspec.Struct]] = ExtractParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind("read", config_schema(ExtractParams), writes=("out",))

    async def run(self, ctx: TryContext, params: ExtractParams) -> Result:
        try:
            given, tokens = await ask_json(ctx, params, "Find these values in the input.", properties_of(params))
        except StepFailed as error:
            return broken(error)
        return conclude(ctx, params, Told(given, tokens), next(iter(given), ""))


def properties_of(params: ExtractParams) -> dict[str, Any]:
    fields = params.fields if isinstance(params.fields, dict) else dict.fromkeys(params.fields, "str")
    return {
        name: {"type": _TYPES[told]} if told in _TYPES else {"type": "string", "description": told}
        for name, told in fields.items()
    }


STEP = Extract()
