"""`interrupt`: a graph asks people and waits, holding no worker (Stargraph 0.8: contract 4)."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Ask, Result, TryContext
from ...spec.ir.flow import Interrupt


class InterruptParams(Interrupt, frozen=True, omit_defaults=True, tag=False, forbid_unknown_fields=True):
    """As the action of a rule: see `spec.ir.flow.Interrupt`."""


class InterruptNode:
    """The answer becomes part of the state, and the rules of the node are asked with it."""

    kind: ClassVar[str] = "interrupt"
    Params: ClassVar[type[msgspec.Struct]] = InterruptParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    def run(self, ctx: TryContext, params: InterruptParams) -> Result:
        return Result(
            ask=Ask(
                params.prompt, params.schema, params.capability, timeout_s=params.timeout_s, goto=params.on_timeout,
                payload=params.payload, output_field=params.output_field,
            )
        )  # fmt: skip


STEP = InterruptNode()
