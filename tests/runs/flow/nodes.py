"""Nodes of graphs under test, called by import path."""

from __future__ import annotations

import asyncio
import time
from typing import Any


class Bump:
    """Counts `n` up by `by`."""

    def __init__(self, by: int = 1) -> None:
        self.by = by

    async def execute(self, state: Any, ctx: Any) -> dict[str, Any]:
        return {"n": state.n + self.by}


def write(state: Any, ctx: Any, **values: Any) -> dict[str, Any]:
    return dict(values)


async def note(state: Any, text: str = "") -> dict[str, Any]:
    return {"seen": [*state.seen, text]}


async def fail(state: Any, ctx: Any, kind: str = "ValueError", until: int = 10**9) -> dict[str, Any]:
    if ctx.attempt < until:
        raise {"ValueError": ValueError, "KeyError": KeyError}[kind]("no good")
    return {}


GATES: dict[str, asyncio.Event] = {}
"""Gates a test opens by hand."""


async def wait(state: Any, ctx: Any, gate: str = "gate") -> dict[str, Any]:
    await GATES.setdefault(gate, asyncio.Event()).wait()
    return {}


def sleep(state: Any) -> dict[str, Any]:
    time.sleep(0.001)
    return {}


MEETING: list[asyncio.Event] = []


async def meet(state: Any, size: int = 2) -> dict[str, Any]:
    """Goes on once `size` of them are here."""
    here = asyncio.Event()
    MEETING.append(here)
    if len(MEETING) == size:
        for one in MEETING:
            one.set()
        MEETING.clear()
    await here.wait()
    return {}
