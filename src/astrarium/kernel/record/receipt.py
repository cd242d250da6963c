"""Receipts: what repeated commands are answered with. They leave the store once nobody can mean the same command any more."""

from __future__ import annotations

from ...errors import Conflict
from ..engine import Engine
from ..memory import key_head
from ..ports import RECEIPTS
from ..types import Command, Scope

AT_ONCE = 500


async def forget_receipts(engine: Engine, until: int, unless: str) -> int:
    """Take receipts older than `until` (microseconds) out of the store, `unless` a condition (SQL, over their rows) holds; how many
    left. One that moves meanwhile stays until the next time. Its key may then be used anew."""
    sql = (
        f"SELECT at, workspace, key FROM receipts WHERE at < ? AND (at, workspace, key) > (?, ?, ?) AND NOT ({unless})"
        f" ORDER BY at, workspace, key LIMIT {AT_ONCE}"
    )
    count, place = 0, (-1, "", "")
    while rows := await engine.store.read(sql, (until, *place)):
        place = rows[-1]
        try:
            await _forget(engine, [Command("", None, Scope(workspace, ""), key=key) for _, workspace, key in rows])
        except Conflict:
            continue
        count += len(rows)
    return count


async def _forget(engine: Engine, keys: list[Command]) -> None:
    """The heads of keys stay, as of keys that were never used: whoever uses one at the same moment waits for them."""
    tries = 0

    def change() -> None:
        nonlocal tries
        tries += 1
        if tries > 1:  # the batch is decided again: these receipts may be gone, or others
            raise Conflict("receipts moved while they were removed", hint="remove them again")
        batch = engine.filling.batch
        for command in keys:
            head = key_head(command)
            batch.heads[head], batch.moved[head] = 1, 0
            batch.drop(RECEIPTS, (command.scope.workspace, command.key))

    await engine.change(change)
    engine.memory.evict_all(map(key_head, keys))
