"""What PostgreSQL is told. A batch is arrays taken apart by `unnest`: few round trips however many rows.

1. `MAKE_HEADS` makes missing head rows, so that there is something to lock. 2. `LOCK` locks the worker (shared) and the heads
(in sorted order, so two batches cannot wait for each other) and tells what they are. 3. One statement writes all rows of all
tables. 4. `APPEND`, the last one, takes positions from the workspaces' log heads, whose locks are thus held shortest, and inserts
the events: positions have no gaps and stand in commit order.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

from ..errors import Bug
from ..kernel.ports import Batch
from ..kernel.types import Column, Table
from .row import JOB_COLUMNS

ARRAYS = {"text": "text[]", "int": "bigint[]", "real": "double precision[]", "json": "json[]", "bytes": "bytea[]"}

MAKE_HEADS = (
    'INSERT INTO heads (stream, seq) SELECT s, 0 FROM unnest($1::text[]) AS s ORDER BY s COLLATE "C" ON CONFLICT DO NOTHING'
)

LOCK = """
WITH me AS MATERIALIZED (SELECT id FROM workers WHERE id = $2 AND ended = 0 FOR SHARE),
locked AS MATERIALIZED (SELECT stream, seq FROM heads WHERE stream = ANY($1::text[]) ORDER BY stream FOR UPDATE)
SELECT NULL::text AS stream, (SELECT count(*) FROM me) AS seq UNION ALL SELECT stream, seq FROM locked
"""

APPEND = """
WITH taken AS (
  INSERT INTO log_heads AS l (workspace, position)
  SELECT w, n FROM unnest($1::text[], $2::bigint[]) AS t (w, n) ORDER BY w COLLATE "C"
  ON CONFLICT (workspace) DO UPDATE SET position = l.position + excluded.position
  RETURNING l.workspace, l.position
), appended AS (
  INSERT INTO events (workspace, position, stream, seq, at, type, v, actor, body)
  SELECT e.workspace, t.position - e.back, e.stream, e.seq, e.at, e.type, e.v, e.actor, e.body
  FROM unnest($3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::text[],
    $11::json[]) AS e (workspace, back, stream, seq, at, type, v, actor, body)
  JOIN taken AS t ON t.workspace = e.workspace
)
SELECT workspace, position FROM taken
"""
"""`back`: how many events of the same workspace follow in this batch."""

NOW = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
_RETURNED = ", ".join(f"j.{name}" for name in JOB_COLUMNS)

CLAIM = f"""
WITH due AS MATERIALIZED (
  SELECT id FROM jobs WHERE owner = '' AND not_before <= $2 AND EXISTS (SELECT 1 FROM workers WHERE id = $1 AND ended = 0)
  ORDER BY priority DESC, not_before, id LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j SET owner = $1 FROM due WHERE j.id = due.id RETURNING {_RETURNED}
"""

CLAIM_LOST = f"""
WITH lost AS MATERIALIZED (
  SELECT id FROM jobs WHERE owner > '' AND NOT EXISTS (SELECT 1 FROM workers AS w WHERE w.id = jobs.owner AND w.ended = 0)
  AND EXISTS (SELECT 1 FROM workers WHERE id = $1 AND ended = 0)
  ORDER BY priority DESC, not_before, id LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j SET owner = $1, attempt = j.attempt + 1 FROM lost WHERE j.id = lost.id RETURNING {_RETURNED}
"""

RELEASE = """
WITH freed AS (UPDATE jobs SET owner = '' WHERE id = ANY($1::text[]) AND owner = $2)
SELECT pg_notify('astrarium', $3)
"""

# A worker in the middle of a commit holds its row: it is left alone until the next time.
END_LAPSED = f"""
UPDATE workers SET ended = {NOW} WHERE id IN (
  SELECT id FROM workers WHERE ended = 0 AND lease_until < {NOW} ORDER BY id FOR UPDATE SKIP LOCKED
)
"""


@lru_cache(maxsize=2000)
def numbered(sql: str) -> str:
    """`?` placeholders as `$1`, `$2` … A `?` inside quotes is text."""
    parts: list[str] = []
    quote = ""
    count = 0
    for char in sql:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "?":
            count += 1
            char = f"${count}"
        parts.append(char)
    return "".join(parts)


@lru_cache(maxsize=500)
def _changes_sql(puts: tuple[Table, ...], drops: tuple[Table, ...], moves: bool, prunes: bool) -> str:
    """One statement for all rows: its shape depends only on which tables a batch touches, so it is prepared once."""
    parts: list[str] = []
    at = 1
    if moves:
        parts.append(
            f"INSERT INTO heads (stream, seq) SELECT * FROM unnest(${at}::text[], ${at + 1}::bigint[]) "
            "ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq"
        )
        at += 2
    for of in puts:
        parts.append(_put_sql(of, at))
        at += len(of.columns)
    for of in drops:
        parts.append(_drop_sql(of, at))
        at += len(of.key)
    if prunes:
        parts.append(
            f"DELETE FROM events AS e USING unnest(${at}::text[], ${at + 1}::bigint[]) AS p (stream, seq) "
            "WHERE e.stream = p.stream AND e.seq <= p.seq"
        )
    return "WITH " + ", ".join(f"w{n} AS ({part})" for n, part in enumerate(parts)) + " SELECT 1"


def changes(batch: Batch) -> tuple[str, list[Any]] | None:
    """Statement and arguments for everything but the events; None when there is nothing else."""
    puts = {of: rows for of, rows in batch.rows.items() if rows}
    drops = {of: keys for of, keys in batch.gone.items() if keys}
    if not (puts or drops or batch.moved or batch.prune):
        return None
    args: list[Any] = []
    if batch.moved:
        args += (list(batch.moved), list(batch.moved.values()))
    for of, rows in puts.items():  # rows several servers add to are locked in one order
        args += columns_of(of, [rows[key] for key in sorted(rows)] if of.adds else list(rows.values()))
    for of, keys in drops.items():
        args += [list(keys)] if len(of.key) == 1 else [list(part) for part in zip(*keys, strict=True)]
    if batch.prune:
        args += ([stream for stream, _ in batch.prune], [seq for _, seq in batch.prune])
    return _changes_sql(tuple(puts), tuple(drops), bool(batch.moved), bool(batch.prune)), args


def columns_of(of: Table, rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as one list a column, json as text."""
    try:
        made = [list(column) for column in zip(*rows, strict=True)]
    except ValueError:
        made = []
    if len(made) != len(of.columns):
        raise Bug(f"a row of {of.name} has not the {len(of.columns)} values its table wants")
    for place, column in enumerate(of.columns):
        if column.kind == "json":
            made[place] = [value.decode() if isinstance(value, bytes) else value for value in made[place]]
    return made


def append_args(batch: Batch) -> list[Any]:
    counts = Counter(event.workspace for event in batch.events)
    left = dict(counts)
    backs = []
    for event in batch.events:
        left[event.workspace] -= 1
        backs.append(left[event.workspace])
    events = batch.events
    return [
        list(counts),
        list(counts.values()),
        [event.workspace for event in events],
        backs,
        [event.stream for event in events],
        [event.seq for event in events],
        [event.at for event in events],
        [event.type for event in events],
        [event.v for event in events],
        [event.actor for event in events],
        [event.body.decode() for event in events],
    ]


def give_positions(batch: Batch, taken: dict[str, int]) -> None:
    """`taken`: workspace → position of its last event in this batch."""
    left = dict(taken)
    for event in reversed(batch.events):
        event.position = left[event.workspace]
        left[event.workspace] -= 1


def _put_sql(of: Table, at: int) -> str:
    columns = ", ".join(f'"{column.name}"' for column in of.columns)
    arrays = ", ".join(f"${at + n}::{ARRAYS[column.kind]}" for n, column in enumerate(of.columns))
    changed: tuple[Column, ...] = of.columns[len(of.key) :]
    if of.adds:
        update = ", ".join(f'"{one.name}" = "{of.name}"."{one.name}" + excluded."{one.name}"' for one in changed if one.adds)
    else:
        update = ", ".join(f'"{column.name}" = excluded."{column.name}"' for column in changed)
    key = ", ".join(f'"{name}"' for name in of.key)
    do = f"UPDATE SET {update}" if update else "NOTHING"
    return f'INSERT INTO "{of.name}" ({columns}) SELECT * FROM unnest({arrays}) ON CONFLICT ({key}) DO {do}'


def _drop_sql(of: Table, at: int) -> str:
    kinds = {column.name: column.kind for column in of.columns}
    if len(of.key) == 1:
        return f'DELETE FROM "{of.name}" WHERE "{of.key[0]}" = ANY(${at}::{ARRAYS[kinds[of.key[0]]]})'
    arrays = ", ".join(f"${at + n}::{ARRAYS[kinds[name]]}" for n, name in enumerate(of.key))
    names = ", ".join(f'"{name}"' for name in of.key)
    same = " AND ".join(f't."{name}" = k."{name}"' for name in of.key)
    return f'DELETE FROM "{of.name}" AS t USING unnest({arrays}) AS k ({names}) WHERE {same}'
