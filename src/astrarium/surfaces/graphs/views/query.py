"""The selects of this surface: rows of runs and their steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ....errors import NotFound
from ....kernel.ports import Store
from ....kernel.types import Scope
from ....runs.row import LEAN_COLUMNS, RunRow
from ....web.paging import read_cursor, write_cursor
from .status import Condition

SURFACE = "graphs"


class Progress(NamedTuple):
    """How far a run has come: the last place on its way that was left behind (-1 = none), when, and what went wrong last."""

    place: int = -1
    at: int = 0
    error: str = ""


def not_found(alias: str) -> NotFound:
    return NotFound(f"run '{alias[:200]}' not found")


async def find_run(store: Store, scope: Scope, alias: str) -> RunRow:
    """The run of whatever surface that a client or the log knows by this id: a graph's before a DAG's, the newest first. Raises
    `NotFound`."""
    sql = (
        f"SELECT {LEAN_COLUMNS} FROM runs WHERE alias = ? AND parent_run = '' AND workspace = ?"
        f" ORDER BY CASE surface WHEN '{SURFACE}' THEN 0 ELSE 1 END, created_at DESC LIMIT 1"
    )
    rows = await store.read(sql, [alias, scope.workspace])
    if not rows:
        rows = await store.read(f"SELECT {LEAN_COLUMNS} FROM runs WHERE id = ? AND workspace = ?", [alias, scope.workspace])
    if not rows:
        raise not_found(alias)
    return RunRow(*rows[0])


async def run_rows(store: Store, where: Sequence[Condition], limit: int, offset: int) -> list[RunRow]:
    """Newest first."""
    text, args = _all_of(where)
    sql = (
        f"SELECT {LEAN_COLUMNS} FROM runs WHERE {text} ORDER BY created_at DESC, id DESC LIMIT {int(limit)} OFFSET {int(offset)}"
    )
    return [RunRow(*row) for row in await store.read(sql, args)]


async def count_runs(store: Store, where: Sequence[Condition]) -> int:
    text, args = _all_of(where)
    return int((await store.read(f"SELECT count(*) FROM runs WHERE {text}", args))[0][0])


def _all_of(where: Sequence[Condition]) -> tuple[str, list[Any]]:
    return " AND ".join(text for text, _ in where), [value for _, values in where for value in values]


async def aliases_of(store: Store, ids: Sequence[str]) -> dict[str, str]:
    """What clients know runs by."""
    wanted = list(dict.fromkeys(one for one in ids if one))
    if not wanted:
        return {}
    return dict(await store.read(f"SELECT id, alias FROM runs WHERE id IN ({_marks(wanted)})", wanted))


async def progress_of(store: Store, runs: Sequence[str]) -> dict[str, Progress]:
    if not runs:
        return {}
    sql = (
        "SELECT run, max(CASE WHEN status = 'done' THEN place ELSE -1 END), max(ended_at) FROM steps"
        f" WHERE run IN ({_marks(runs)}) GROUP BY run"
    )
    return {run: Progress(place, at) for run, place, at in await store.read(sql, list(runs))}


async def errors_of(store: Store, runs: Sequence[str]) -> dict[str, str]:
    """What the last step of each run that went wrong said."""
    if not runs:
        return {}
    sql = f"SELECT run, error FROM steps WHERE run IN ({_marks(runs)}) AND error <> '' AND outcome <> '' ORDER BY round, no"
    return dict(await store.read(sql, list(runs)))


async def asks_of(store: Store, runs: Sequence[str]) -> dict[str, tuple[int, str, int, str, int]]:
    """The oldest open question of each run: (step number, node, place, ask, since)."""
    if not runs:
        return {}
    sql = (
        f"SELECT run, no, node, place, ask, started_at FROM steps WHERE run IN ({_marks(runs)}) AND status = 'asking'"
        " ORDER BY no DESC"
    )
    return {run: (no, node, place, ask, at) for run, no, node, place, ask, at in await store.read(sql, list(runs))}


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def cursor_after(row: RunRow) -> str:
    """What asks for the runs older than this one."""
    return write_cursor(SURFACE, row.created_at, row.id)


def parse_cursor(text: str) -> Condition:
    """Raises `Invalid` for what no page gave."""
    created_at, run = read_cursor(text, SURFACE, int, str)
    return "(created_at < ? OR (created_at = ? AND id < ?))", [created_at, created_at, run]
