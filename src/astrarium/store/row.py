"""What both databases do alike with rows: mend texts they cannot hold, and put claimed jobs in their turn.

UTF-8 has no lone surrogates, so no store can keep them; PostgreSQL cannot keep U+0000 in a text either. Such characters
become U+FFFD (the replacement character) when they are written and when they are searched for, so that a user's odd input is
kept approximately instead of failing. Only the cure is here: stores try the text as it is first, as it is nearly always fine.
"""

from __future__ import annotations

import re
from typing import Any

from ..kernel.ports import JOBS, Batch, NewEvent

JOB_COLUMNS = tuple(column.name for column in JOBS.columns)
PRIORITY, NOT_BEFORE = JOB_COLUMNS.index("priority"), JOB_COLUMNS.index("not_before")

SURROGATES = re.compile("[\ud800-\udfff]")
SURROGATES_AND_NUL = re.compile("[\x00\ud800-\udfff]")


def clean_value(value: Any, unfit: re.Pattern[str]) -> Any:
    """The value with unfit characters replaced; tuples (rows, keys of several columns) are gone through."""
    if isinstance(value, str):
        return unfit.sub("\ufffd", value)
    if isinstance(value, tuple):
        return tuple(clean_value(part, unfit) for part in value)
    return value


def clean_batch(batch: Batch, unfit: re.Pattern[str]) -> Batch:
    """A copy of the batch with every text mended. Positions have to be carried back to the original's events."""
    clean = Batch()
    clean.heads = {clean_value(stream, unfit): seq for stream, seq in batch.heads.items()}
    clean.moved = {clean_value(stream, unfit): seq for stream, seq in batch.moved.items()}
    clean.events = [_clean_event(event, unfit) for event in batch.events]
    clean.rows = {
        of: {clean_value(key, unfit): clean_value(row, unfit) for key, row in rows.items()} for of, rows in batch.rows.items()
    }
    clean.gone = {of: {clean_value(key, unfit): None for key in keys} for of, keys in batch.gone.items()}
    clean.prune = [(clean_value(stream, unfit), seq) for stream, seq in batch.prune]
    return clean


def carry_positions(clean: Batch, batch: Batch) -> None:
    """Give the events of `batch` the positions their mended copies got."""
    for mended, event in zip(clean.events, batch.events, strict=True):
        event.position = mended.position


def _clean_event(event: NewEvent, unfit: re.Pattern[str]) -> NewEvent:
    return NewEvent(
        clean_value(event.workspace, unfit),
        clean_value(event.stream, unfit),
        event.seq,
        event.at,
        clean_value(event.type, unfit),
        event.v,
        clean_value(event.actor, unfit),
        event.body,
    )


def in_turn(jobs: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Job rows in the order in which they should start: highest priority, then longest due."""
    return sorted(jobs, key=lambda row: (-row[PRIORITY], row[NOT_BEFORE], row[0]))
