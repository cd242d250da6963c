"""Nodes of the documents beside this file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from astrarium.runs.ports import Result


class Bump:
    """Counts, and says whether there is more to do."""

    def __init__(self, limit: int = 3) -> None:
        self.limit = limit

    async def execute(self, state: Any, ctx: Any) -> dict[str, Any]:
        n = state["n"] + 1
        return {"n": n, "phase": "more" if n < self.limit else "stop"}


def give(state: Any, ctx: Any, **patch: Any) -> dict[str, Any]:
    """What its configuration says."""
    return patch


async def slow(state: Any, ctx: Any, seconds: float = 1.0, **patch: Any) -> dict[str, Any]:
    await asyncio.sleep(seconds)
    return patch


def fail(state: Any, ctx: Any, times: int = 1_000_000) -> dict[str, Any]:
    if ctx.attempt <= times:
        raise ValueError("the oven is cold; password=hunter2hunter2")
    return {"note": f"try {ctx.attempt}"}


def wrong(state: Any, ctx: Any) -> dict[str, Any]:
    return {"n": "many"}


async def log(state: Any, ctx: Any, to: str, seconds: float = 0.0) -> dict[str, Any]:
    """Writes down that it ran, to a file beside the process."""
    await asyncio.sleep(seconds)
    with Path(to).open("a") as file:
        file.write(f"{ctx.run_id} {ctx.step}\n")
    return {"n": state.get("n", 0) + 1}


def tally(state: Any, ctx: Any) -> dict[str, Any]:
    return {"n": state["n"] + 1}


def spend(state: Any, ctx: Any) -> Result:
    """Says that more was used than there was."""
    fact = {"fact": "bosun.budget", "slots": {"kind": "tokens", "allowed": 10, "consumed": 11, "run_id": ctx.run_id}}
    return Result(patch={"note": "spent"}, said=(fact,))
