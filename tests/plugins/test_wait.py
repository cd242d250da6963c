"""What a wait step asks."""

from __future__ import annotations

import msgspec
import pytest

from astrarium.plugins.steps.wait import STEP, WaitParams
from tests.contracts.step import FakeTry


async def test_it_asks_with_a_schema_of_its_inputs(ctx: FakeTry) -> None:
    ctx.variables["WHAT"] = "v2"
    asked = (await ctx.run(STEP, prompt="ship $WHAT?", input=["REASON", "WHO"], required=["WHO"])).ask
    assert asked is not None and asked.prompt == "ship v2?"
    assert asked.schema["required"] == ["WHO"]
    assert asked.schema["properties"] == {"REASON": {"type": "string"}, "WHO": {"type": "string"}}
    assert asked.schema["additionalProperties"] is False


def test_required_must_be_among_the_inputs() -> None:
    with pytest.raises(msgspec.ValidationError, match="WHO"):
        msgspec.convert({"input": ["A"], "required": ["WHO"]}, WaitParams)
