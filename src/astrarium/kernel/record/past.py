"""The past of lives that never end: what their snapshots have made needless leaves the log once it is old.

An ended life leaves the log whole (`Engine.prune`). One that goes on is read as its snapshot and the events since, so nothing before
the snapshot is ever folded again; the act that records the pruning keeps the digest of what was there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..audit import act
from ..engine import Engine
from ..memory import as_bytes
from ..types import ENGINE, Scope

PAGE = 500


async def prune_past(engine: Engine, scope: Scope, machines: Sequence[str], until: int) -> int:
    """Take events older than `until` (microseconds) of the lives of these machines out of the log, as far as a snapshot has what came
    of them; how many left."""
    count, digest = 0, hashlib.sha256()
    for machine in machines:
        sql = "SELECT stream, seq FROM snapshots WHERE stream > ? AND stream < ? AND workspace = ? ORDER BY stream"
        for stream, seq in await engine.store.read(sql, (f"{machine}:", f"{machine};", scope.workspace)):
            count += await _prune(engine, stream, seq, until, digest)
    if count:
        subject = ",".join(machines)
        await engine.submit(act(scope, ENGINE, "log.pruned", subject, events=count, digest=digest.hexdigest()))
    return count


async def _prune(engine: Engine, stream: str, kept: int, until: int, digest: hashlib._Hash) -> int:
    """Of one life, whose snapshot is at `kept`; oldest first, so the cost follows what leaves."""
    count = 0
    sql = "SELECT seq, at, body FROM events WHERE stream = ? AND seq <= ? ORDER BY seq LIMIT ?"
    while True:
        page = await engine.store.read(sql, (stream, kept, PAGE))
        old = [row for row in page if row[1] < until]
        if not old:
            return count
        await _forget(engine, stream, int(old[-1][0]))
        for _, _, body in old:
            digest.update(as_bytes(body) + b"\n")
        count += len(old)
        if len(old) < PAGE:
            return count


async def _forget(engine: Engine, stream: str, last: int) -> None:
    await engine.change(lambda: engine.filling.batch.prune.append((stream, last)))
