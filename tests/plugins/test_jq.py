"""The real jq."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from astrarium.plugins.steps.jq import STEP, evaluate
from astrarium.runs.ports import StepFailed
from tests.contracts.executor import until
from tests.contracts.step import FakeTry


async def test_pretty_printed_and_expanded(ctx: FakeTry) -> None:
    ctx.variables["N"] = "3"
    result = await ctx.run(STEP, filter="{n: .a, t: (.a + 1)}", input='{"a": $N}')
    assert result.output == '{\n  "n": 3,\n  "t": 4\n}'
    assert ctx.out == '{\n  "n": 3,\n  "t": 4\n}\n'


def test_results_are_lines_and_raw_texts_have_no_quotes() -> None:
    assert evaluate(".[]", '["a", 1, null]', raw=False) == '"a"\n1\nnull'
    assert evaluate(".[]", '["a", 1, "é"]', raw=True) == "a\n1\né"
    assert evaluate("", "7", raw=False) == "7"
    assert evaluate(".", "", raw=False) == "null"
    assert evaluate("empty", "1", raw=False) == ""
    assert evaluate(". + 1", "1 2", raw=False) == "2\n3"


@pytest.mark.parametrize("params", [{"filter": ".a |"}, {"filter": ".", "input": "{"}, {"filter": ".a.b", "input": '{"a": 1}'}])
async def test_jqs_own_words_say_what_is_wrong(ctx: FakeTry, params: dict[str, str]) -> None:
    with pytest.raises(StepFailed, match=r"ValueError: .+"):
        await ctx.run(STEP, **params)


async def test_an_endless_filter_can_be_stopped(ctx: FakeTry) -> None:
    running = asyncio.create_task(ctx.run(STEP, filter="last(repeat(1))", input="1"))
    await until(lambda: ctx.pool.pids)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert ctx.pool.pids == []
