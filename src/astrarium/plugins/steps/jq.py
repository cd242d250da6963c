"""`jq`: the real jq over a JSON text (Dagu 1.30: `type: jq`, command = filter, script = input, `raw`).

It runs in a Python worker process, because a filter can loop for ever or eat memory, and only a process can be stopped.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from ...lazy import library
from ...runs.ports import Result, TryContext

if TYPE_CHECKING:
    import jq
else:
    jq = library("jq")

MAX_INPUT_BYTES = 64 * 1024 * 1024
MAX_OUTPUT_BYTES = 64 * 1024 * 1024


class JqParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`raw` prints texts without quotes. An empty input is `null`."""

    filter: str = "."
    input: str = ""
    raw: bool = False


def evaluate(filter: str, text: str, raw: bool) -> str:
    """Every result on its own lines, pretty printed. `ValueError` with jq's own words when filter or input is wrong."""
    if len(text) > MAX_INPUT_BYTES:
        raise ValueError(f"the input is longer than {MAX_INPUT_BYTES} bytes")
    printed: list[str] = []
    size = 0
    for result in jq.compile(filter or ".").input_text(text if text.strip() else "null"):
        shown = _shown(result, raw)
        size += len(shown) + 1
        if size > MAX_OUTPUT_BYTES:
            raise ValueError(f"the filter gives more than {MAX_OUTPUT_BYTES} bytes")
        printed.append(shown)
    return "\n".join(printed)


def _shown(result: Any, raw: bool) -> str:
    if raw and isinstance(result, str):
        return result
    return json.dumps(result, indent=2, ensure_ascii=False)


class Jq:
    """Filters its input."""

    kind: ClassVar[str] = "jq"
    Params: ClassVar[type[msgspec.Struct]] = JqParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = "python"
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: JqParams) -> Result:
        text = ctx.expand_script(params.input)
        args = {"filter": ctx.expand_script(params.filter), "text": text, "raw": params.raw}
        output = await ctx.call_python(f"{__name__}:{evaluate.__name__}", args)
        ctx.write(output + "\n" if output else "")
        return Result(output=output)


STEP = Jq()
