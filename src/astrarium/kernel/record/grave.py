"""Ended lives that are to leave the store whole: what is left of each is a tombstone in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import Refused
from ..memory import Hot, Memory, digest_of
from ..ports import Store
from ..types import Scope, Tombstone


class Grave:
    """An ended life as it was found: how far it was, the slots it still holds, and its tombstone."""

    __slots__ = ("hot", "seq", "slots", "stone")

    def __init__(self, hot: Hot, seq: int, stone: Tombstone, slots: tuple[str, ...]) -> None:
        self.hot = hot
        self.seq = seq
        self.stone = stone
        self.slots = slots


async def find_graves(memory: Memory, store: Store, streams: Sequence[str], scope: Scope) -> list[Grave]:
    """What is known of ended lives, with few reads. Raises `NotFound`, and `Refused` when one has not ended."""
    await memory.load_many(streams, scope)
    lives = [(hot, hot.seq) for hot in [await memory.load(stream, scope) for stream in streams]]
    for hot, _ in lives:
        if not hot.seq or not hot.machine.ended(hot.state):
            raise Refused(f"{hot.stream} has not ended", hint="only ended lives are removed")
    marks = ",".join("?" * len(streams))
    bodies: dict[str, list[Any]] = {}
    sql = f"SELECT stream, body FROM events WHERE stream IN ({marks}) ORDER BY stream, seq"
    for stream, body in await store.read(sql, streams):
        bodies.setdefault(stream, []).append(body)
    slots: dict[str, list[str]] = {}
    for holder, name in await store.read(f"SELECT holder, name FROM slots WHERE holder IN ({marks})", streams):
        slots.setdefault(holder, []).append(name)
    return [
        Grave(hot, seq, Tombstone(len(found), digest_of(found)), tuple(slots.get(hot.stream, ())))
        for hot, seq in lives
        for found in [bodies.get(hot.stream, [])]
    ]
