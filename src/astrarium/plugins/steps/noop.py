"""`noop`: does nothing and succeeds. For joins, for measuring the engine, and as a mark in a graph."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Result, TryContext


class NoopParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """It takes none."""


class Noop:
    """Succeeds at once."""

    kind: ClassVar[str] = "noop"
    Params: ClassVar[type[msgspec.Struct]] = NoopParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    def run(self, ctx: TryContext, params: NoopParams) -> Result:
        return Result()


STEP = Noop()
