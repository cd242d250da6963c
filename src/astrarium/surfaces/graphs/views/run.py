"""Runs as clients are told them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ....kernel.engine import Engine
from ....runs.ports import Ask
from ..wire import GraphPrompt, GraphRun
from . import query
from .query import RunRow
from .status import source_of, status_of

MOST_CAUSE = 500
"""Characters of an error's text that are told."""
HASH_LABEL = "graph_hash"
REASON_LABEL = "fork_reason"
_SECRET = re.compile(
    r"\bsk_[0-9a-f]{6}_[\w-]{8,}|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+|(?<=://)[^/\s@'\"]*:[^/\s'\"]+(?=@)"
    r"|(?i:(?<=bearer )|(?<=basic )|(?<=apikey ))[\w+/=.~-]{8,}"
    r"|(?i:(?<=password=)|(?<=passwd=)|(?<=token=)|(?<=secret=)|(?<=api_key=)|(?<=apikey=))[^\s&'\",;]+"
)
_ask = msgspec.json.Decoder(Ask)
_labels = msgspec.json.Decoder(dict[str, str])


def shown_time(micros: int) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def masked(text: str) -> str:
    """An error's text as any reader may see it: without what looks like a secret, and not too long."""
    return _SECRET.sub("***", text)[:MOST_CAUSE]


def labels_of(row: RunRow) -> dict[str, str]:
    return _labels.decode(row.labels) if row.labels not in ("", "{}") else {}


class RunViews:
    """Of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store

    async def summaries(self, rows: Sequence[RunRow]) -> list[GraphRun]:
        ids = [row.id for row in rows]
        progress = await query.progress_of(self._store, ids)
        bad = [row.id for row in rows if row.status == "ended" and row.outcome not in ("succeeded", "partial", "cancelled")]
        errors = await query.errors_of(self._store, bad)
        asks = await query.asks_of(self._store, [row.id for row in rows if row.status == "waiting"])
        parents = await query.aliases_of(self._store, [one for row in rows for one in (row.forked_from, row.parent_run)])
        return [self._summary(row, progress.get(row.id, query.Progress()), errors, asks, parents) for row in rows]

    def _summary(
        self, row: RunRow, progress: query.Progress, errors: dict[str, str], asks: dict[str, Any], parents: dict[str, str]
    ) -> GraphRun:
        ended = row.status == "ended"
        good = row.outcome in ("", "succeeded", "partial", "cancelled")
        parent = row.forked_from or row.parent_run
        labels = labels_of(row)
        cause = masked(errors.get(row.id, "") or row.reason) if not good else None
        return GraphRun(
            run_id=row.alias, status=status_of(row.status, row.outcome, row.waiting), graph_id=row.name,
            graph_hash=labels.get(HASH_LABEL, row.graph), trigger_source=source_of(row.trigger),
            started_at=shown_time(row.created_at), last_step_at=shown_time(progress.at or row.began_at or row.created_at),
            finished_at=shown_time(row.ended_at) if ended else None,
            duration_ms=(row.ended_at - row.created_at) // 1000 if ended else None,
            queued_ms=(row.began_at - row.created_at) // 1000 if row.began_at else None,
            parent_run_id=parents.get(parent, parent) or None, error_class=None if good else row.reason or row.outcome,
            error_cause=cause, step=progress.place if progress.place >= 0 else None, attempt=row.round,
            awaiting=shown_ask(asks[row.id]) if row.id in asks else None, reason=labels.get(REASON_LABEL), surface=row.surface,
        )  # fmt: skip

    async def summary(self, row: RunRow) -> GraphRun:
        return (await self.summaries([row]))[0]


def shown_ask(found: tuple[int, str, int, str, int]) -> GraphPrompt:
    _, node, place, text, since = found
    ask = _ask.decode(text)
    until = shown_time(since + int(ask.timeout_s * 1_000_000)) if ask.timeout_s else None
    return GraphPrompt(ask.prompt, ask.payload, ask.capability or None, node, place, until)
