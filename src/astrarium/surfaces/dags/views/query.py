"""The selects of this surface: runs and steps as rows. Plain SQL, every value of a client an argument: a query builder would cost
half of the server's start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ....errors import NotFound
from ....kernel.ports import Store
from ....kernel.types import Scope
from ....runs.row import RUN_COLUMNS, STEP_COLUMNS, RunRow, StepRow
from .status import marks, with_status

SURFACE = "dags"
SLOT_LABEL = "slot"
"""The label of a scheduled run that says which slot of the schedule it belongs to, RFC 3339."""
LATEST = "latest"
MOST_RUNS = 1000
MOST_NAMES = 200
"""Names in one statement."""
FEW_NAMES = 8
"""So many names are looked up each by itself; with more of them, runs that match are not rare."""
NEWEST = 10_000
"""Runs among which a part of an id is looked for first."""

_OF_SURFACE = "workspace = ? AND surface = ?"

Condition = tuple[str, list[Any]]
"""A part of a WHERE clause with its arguments."""


class RunFilter(NamedTuple):
    """What a list of runs is narrowed to. `part` is a substring of the name, `id_part` of the run id; times in microseconds."""

    name: str = ""
    part: str = ""
    id_part: str = ""
    status: int | None = None
    since: int | None = None
    until: int | None = None


async def _rows(reader: Store, where: str, args: Sequence[Any]) -> list[RunRow]:
    return [RunRow(*row) for row in await reader.read(f"SELECT {RUN_COLUMNS} FROM runs WHERE {where}", args)]


async def find_run(reader: Store, scope: Scope, name: str, alias: str) -> RunRow:
    """The run a client means; `latest` is the newest of that name that is no child. Raises `NotFound`."""
    where, args = f"{_OF_SURFACE} AND name = ?", [scope.workspace, SURFACE, name]
    newest = "ORDER BY created_at DESC, id DESC LIMIT 1"
    if alias != LATEST:  # a condition on `parent_run` would choose the index of all runs of the name, not that of the id
        first = newest.replace("BY", "BY CASE parent_run WHEN '' THEN 0 ELSE 1 END,")
        rows = await _rows(reader, f"{where} AND alias = ? {first}", [*args, alias])
    else:
        rows = await _rows(reader, f"{where} AND parent_run = '' {newest}", args) or await _rows(
            reader, f"{where} {newest}", args
        )
    if not rows:
        which = f"no run of DAG {name[:120]!r}" if alias == LATEST else f"no run {alias[:128]!r} of DAG {name[:120]!r}"
        raise NotFound(f"there is {which}", hint="GET /api/v2/dag-runs lists them")
    return rows[0]


async def find_sub_run(reader: Store, root: RunRow, alias: str) -> RunRow:
    """A run somewhere below `root`. Raises `NotFound`."""
    where = "workspace = ? AND surface = ? AND root = ? AND alias = ? AND parent_run <> '' LIMIT 1"
    rows = await _rows(reader, where, [root.workspace, SURFACE, root.root, alias])
    if not rows:
        raise NotFound(f"run {root.alias!r} of {root.name} has no sub-run {alias[:128]!r}")
    return rows[0]


async def run_of(reader: Store, run: str) -> RunRow | None:
    """A run by its inner id."""
    rows = await _rows(reader, "id = ?", [run])
    return rows[0] if rows else None


async def children(reader: Store, run: str) -> list[RunRow]:
    """The runs directly under a run, in the order of its steps."""
    return await _rows(reader, "parent_run = ? AND parent_run <> '' ORDER BY parent_step, parent_index, created_at", [run])


async def child_ids(reader: Store, run: str) -> list[tuple[int, int, str, str]]:
    """(step, place among its siblings, id, params) of the runs directly under a run; of one place the newest is the last."""
    sql = (
        "SELECT parent_step, parent_index, alias, params FROM runs WHERE parent_run = ? AND parent_run <> ''"
        " ORDER BY parent_step, parent_index, created_at"
    )
    return [(int(row[0]), int(row[1]), row[2], row[3]) for row in await reader.read(sql, [run])]


async def list_runs(reader: Store, scope: Scope, wanted: RunFilter, limit: int = MOST_RUNS) -> list[RunRow]:
    """Runs that are no children, newest first. Whatever the filter, indexes are read from their newest entry
    (`0005_history.sql`), so the cost does not grow with the number of runs; only a part of an id is looked for among all."""
    names = [wanted.name] if wanted.name else await names_with(reader, scope, wanted.part) if wanted.part else None
    if names is not None and not names:
        return []
    branches = _branches(reader.dialect, wanted, names)
    times: list[Condition] = [
        (f"created_at {sign} ?", [at]) for sign, at in ((">=", wanted.since), ("<=", wanted.until)) if at is not None
    ]
    if wanted.id_part and names is None:
        return await _search_ids(reader, scope, branches, times, limit)
    rows: list[RunRow] = []
    for branch in branches:
        rows += await _newest(reader, scope, [branch, *times], limit)
    if len(branches) > 1:
        rows.sort(key=lambda row: (row.created_at, row.id), reverse=True)
    return rows[:limit]


def _branches(dialect: str, wanted: RunFilter, names: list[str] | None) -> list[Condition]:
    """The filter but for its times as alternatives, each of which stands in one stretch of one index."""
    statuses: list[Condition] = [("", [])] if wanted.status is None else list(with_status(wanted.status))
    named: list[Condition] = [("", [])]
    if names is not None:
        few = len(names) <= FEW_NAMES
        named = [("name = ?", [name]) for name in names] if few else [has_part(dialect, "name", wanted.part)]
    alias: list[Condition] = [has_part(dialect, "alias", wanted.id_part)] if wanted.id_part else []
    return [_all_of([*alias, status, name]) for status in statuses for name in named]


def _all_of(conditions: Iterable[Condition]) -> Condition:
    given = [one for one in conditions if one[0]]
    return " AND ".join(text for text, _ in given), [value for _, values in given for value in values]


async def _newest(reader: Store, scope: Scope, conditions: list[Condition], limit: int, table: str = "runs") -> list[RunRow]:
    where, given = _all_of([(f"{_OF_SURFACE} AND parent_run = ''", [scope.workspace, SURFACE]), *conditions])
    sql = f"SELECT {RUN_COLUMNS} FROM {table} WHERE {where} ORDER BY created_at DESC, id DESC LIMIT {int(limit)}"
    return [RunRow(*row) for row in await reader.read(sql, given)]


async def _search_ids(reader: Store, scope: Scope, branches: list[Condition], times: list[Condition], limit: int) -> list[RunRow]:
    """Runs with something in their id. A part many have is found among the newest runs; one that is rare there is looked for in
    the index of the ids, which is the least that can be read."""
    begin = await reader.read(
        f"SELECT created_at FROM runs WHERE {_OF_SURFACE} AND parent_run = '' ORDER BY created_at DESC LIMIT 1 OFFSET {NEWEST}",
        [scope.workspace, SURFACE],
    )
    any_of = " OR ".join(f"({text})" for text, _ in branches)
    wanted: Condition = (f"({any_of})", [value for _, values in branches for value in values])
    if begin:
        rows = await _newest(reader, scope, [wanted, *times, ("created_at > ?", [begin[0][0]])], limit)
        if len(rows) == limit:
            return rows
    table = "runs INDEXED BY runs_ids" if reader.dialect == "sqlite" else "runs"
    return await _newest(reader, scope, [wanted, *times], limit, table)


async def names_with(reader: Store, scope: Scope, part: str) -> list[str]:
    """The names of DAGs that have runs and `part` in their name, whatever the case: from name to name through the index."""
    first = f"SELECT min(name) FROM runs WHERE {_OF_SURFACE} AND parent_run = ''"
    sql = (
        f"WITH RECURSIVE known(name) AS ({first} UNION ALL SELECT ({first} AND name > known.name) FROM known"
        " WHERE known.name IS NOT NULL) SELECT name FROM known WHERE name IS NOT NULL"
    )
    rows = await reader.read(sql, [scope.workspace, SURFACE] * 2)
    return [row[0] for row in rows if part.lower() in row[0].lower()]


def has_part(dialect: str, column: str, text: str) -> Condition:
    """Case-insensitive "has `text` in it"; `%` and `_` in the text mean themselves."""
    literal = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{column} {'LIKE' if dialect == 'sqlite' else 'ILIKE'} ? ESCAPE '\\'", [f"%{literal}%"]


async def latest_runs(reader: Store, scope: Scope, names: Iterable[str]) -> dict[str, RunRow]:
    """The newest run of each name."""
    found: dict[str, RunRow] = {}
    wanted = list(dict.fromkeys(names))
    newest = (
        f"(SELECT id FROM runs WHERE {_OF_SURFACE} AND parent_run = '' AND name = ? ORDER BY created_at DESC, id DESC LIMIT 1)"
    )
    for start in range(0, len(wanted), MOST_NAMES):
        part = wanted[start : start + MOST_NAMES]
        values = [value for name in part for value in (scope.workspace, SURFACE, name)]
        for run in await _rows(reader, f"id IN ({', '.join([newest] * len(part))})", values):
            found[run.name] = run
    return found


async def step_rows(reader: Store, run: str) -> dict[int, StepRow]:
    """The present row of each step by number: the one of the newest round."""
    rows = await reader.read(f"SELECT {STEP_COLUMNS} FROM steps WHERE run = ? ORDER BY round", [run])
    return {row[2]: StepRow(*row) for row in rows}


async def step_rows_of(reader: Store, runs: Sequence[str]) -> dict[str, dict[int, StepRow]]:
    """`step_rows` of several runs at once."""
    found: dict[str, dict[int, StepRow]] = {run: {} for run in runs}
    if runs:
        sql = f"SELECT {STEP_COLUMNS} FROM steps WHERE run IN ({marks(runs)}) ORDER BY round"
        for row in await reader.read(sql, list(runs)):
            found[row[0]][row[2]] = StepRow(*row)
    return found


async def thing_text(reader: Store, key: str) -> str | None:
    """A stored text by its hash."""
    rows = await reader.read("SELECT data FROM things WHERE hash = ?", [key])
    return bytes(rows[0][0]).decode("utf-8", "replace") if rows else None
