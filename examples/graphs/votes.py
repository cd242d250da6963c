"""The readers of `votes.yaml`. Each says who it is, and votes for a text or not."""

from __future__ import annotations

import asyncio
from typing import Any


def vote(name: str, good: bool) -> dict[str, Any]:
    return {"readers": [name], "ayes": [name] if good else []}


class Short:
    """Likes texts of few words."""

    def __init__(self, most: int) -> None:
        self.most = most

    async def execute(self, state: Any, ctx: Any) -> dict[str, Any]:
        return vote("short", len(state.text.split()) <= self.most)


class Polite:
    """Likes texts that say please."""

    async def execute(self, state: Any, ctx: Any) -> dict[str, Any]:
        return vote("polite", "please" in state.text.lower())


class Slow:
    """Reads for so long that the others are enough."""

    async def execute(self, state: Any, ctx: Any) -> dict[str, Any]:
        await asyncio.sleep(20)
        return vote("slow", True)
