"""`write_artifact`: a field of the state becomes an artifact of the run (Stargraph 0.8: contract 12)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import msgspec

from ...errors import AstrariumError
from ...runs.ports import Result, StepFailed, TryContext
from ...spec.ir.installed import Kind
from .filling import as_text, config_schema, fill, fitting

Policy = Literal["must_stub", "fail_loud"]


class ArtifactParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `content_field` is kept under `name` (which may hold `{field}`); what clients are told of it goes into
    `output_field`, if the state has that. A forked run writes its own copy; with `fail_loud` it does not, and fails."""

    content_field: str
    name: str
    content_type: str = "application/octet-stream"
    metadata: dict[str, Any] = {}
    output_field: str = "artifact_ref"
    replay_policy: Policy = "must_stub"


class WriteArtifact:
    """Texts are written as UTF-8, bytes as they are, everything else as JSON. The same content twice is kept once."""

    kind: ClassVar[str] = "write_artifact"
    Params: ClassVar[type[msgspec.Struct]] = ArtifactParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind("write", config_schema(ArtifactParams), reads=("content_field",))

    async def run(self, ctx: TryContext, params: ArtifactParams) -> Result:
        try:
            if params.replay_policy == "fail_loud" and await ctx.replays():
                return Result("failed", error="the artifact is not written again in a forked run", code="replay_missing")
            content = content_of(ctx, params.content_field)
            name = fill(params.name, ctx.state)
            reference = await ctx.put_artifact(name, content, params.content_type, params.metadata)
        except StepFailed as error:
            return Result("broken", error=str(error), code=error.code)
        except AstrariumError as error:
            return Result("broken", error=error.message, code=error.code or type(error).__name__)
        ctx.emit({"type": "artifact_written", "artifact_ref": reference, "provenance": provenance(ctx)})
        return Result(patch=fitting(ctx, {params.output_field: reference}) or None)


def content_of(ctx: TryContext, field: str) -> bytes:
    if field not in ctx.state:
        raise StepFailed(f"the state has no field `{field}`", code="KeyError")
    value = ctx.state[field]
    fields = ctx.graph.flow.fields if ctx.graph.flow else ()
    if isinstance(value, str) and any(one.name == field and one.type == "bytes" for one in fields):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise StepFailed(f"the field `{field}` holds no base64: {error}", code="ValueError") from error
    return as_text(value).encode()


def provenance(ctx: TryContext) -> Mapping[str, Any]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"origin": "system", "source": ctx.node.name, "run_id": ctx.run_id, "step": ctx.at, "confidence": 1, "timestamp": now}


STEP = WriteArtifact()
