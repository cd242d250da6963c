"""The selects of this surface: runs and steps as rows. Plain SQL, every value of a client an argument: a query builder would cost
half of the server's start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ....errors import NotFound
from ....kernel.ports import Store
from ....kernel.types import Scope
from ....runs.row import RUNS, STEPS
from .status import marks, with_status

SURFACE = "dags"
LATEST = "latest"
MOST_RUNS = 1000

_RUN_COLUMNS = ", ".join(column.name for column in RUNS.columns)
_STEP_COLUMNS = ", ".join(column.name for column in STEPS.columns)
_OF_SURFACE = "workspace = ? AND surface = ?"


class RunRow(NamedTuple):
    """A row of `runs`, columns in its order."""

    id: str
    workspace: str
    environment: str
    surface: str
    name: str
    alias: str
    graph: str
    status: str
    outcome: str
    reason: str
    waiting: str
    round: int
    parent_run: str
    parent_round: int
    parent_step: int
    parent_index: int
    root: str
    depth: int
    params: str
    resolved: str
    outputs: str
    queue: str
    trigger: str
    rerun_of: str
    forked_from: str
    labels: str
    created_at: int
    queued_at: int
    began_at: int
    ended_at: int


class StepRow(NamedTuple):
    """A row of `steps`, columns in its order."""

    run: str
    round: int
    no: int
    workspace: str
    node: str
    kind: str
    status: str
    outcome: str
    tolerated: int
    partial: int
    inherited: int
    tries: int
    retries: int
    passes: int
    worker: str
    exit_code: int | None
    error: str
    output: str | None
    ask: str
    answers: str
    started_at: int
    ended_at: int


class RunFilter(NamedTuple):
    """What a list of runs is narrowed to. `part` is a substring of the name, `id_part` of the run id; times in microseconds."""

    name: str = ""
    part: str = ""
    id_part: str = ""
    status: int | None = None
    since: int | None = None
    until: int | None = None


async def _rows(reader: Store, where: str, args: Sequence[Any]) -> list[RunRow]:
    return [RunRow(*row) for row in await reader.read(f"SELECT {_RUN_COLUMNS} FROM runs WHERE {where}", args)]


async def find_run(reader: Store, scope: Scope, name: str, alias: str) -> RunRow:
    """The run a client means; `latest` is the newest of that name that is no child. Raises `NotFound`."""
    where, args = f"{_OF_SURFACE} AND name = ?", [scope.workspace, SURFACE, name]
    if alias != LATEST:
        where += " AND alias = ?"
        args.append(alias)
    rows = await _rows(reader, f"{where} AND parent_run = '' ORDER BY created_at DESC, id DESC LIMIT 1", args)
    rows = rows or await _rows(reader, f"{where} ORDER BY created_at DESC, id DESC LIMIT 1", args)
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


async def child_ids(reader: Store, run: str) -> list[tuple[int, str, str]]:
    """(step, id, params) of the runs directly under a run."""
    sql = (
        "SELECT parent_step, alias, params FROM runs WHERE parent_run = ? AND parent_run <> ''"
        " ORDER BY parent_step, parent_index, created_at"
    )
    return [(int(row[0]), row[1], row[2]) for row in await reader.read(sql, [run])]


async def list_runs(reader: Store, scope: Scope, wanted: RunFilter, limit: int = MOST_RUNS) -> list[RunRow]:
    """Runs that are no children, newest first."""
    where, args = [f"{_OF_SURFACE} AND parent_run = ''"], [scope.workspace, SURFACE]
    conditions: list[tuple[str, list[Any]]] = []
    if wanted.name:
        conditions.append(("name = ?", [wanted.name]))
    if wanted.part:
        conditions.append(has_part("name", wanted.part))
    if wanted.id_part:
        conditions.append(has_part("alias", wanted.id_part))
    if wanted.status is not None:
        conditions.append(with_status(wanted.status))
    if wanted.since is not None:
        conditions.append(("created_at >= ?", [wanted.since]))
    if wanted.until is not None:
        conditions.append(("created_at <= ?", [wanted.until]))
    for condition, values in conditions:
        where.append(condition)
        args += values
    return await _rows(reader, f"{' AND '.join(where)} ORDER BY created_at DESC, id DESC LIMIT {int(limit)}", args)


def has_part(column: str, text: str) -> tuple[str, list[Any]]:
    """Case-insensitive "has `text` in it"; `%` and `_` in the text mean themselves."""
    literal = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"lower({column}) LIKE ? ESCAPE '\\'", [f"%{literal}%"]


async def latest_runs(reader: Store, scope: Scope, names: Iterable[str]) -> dict[str, RunRow]:
    """The newest run of each name; run ids grow with time."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    newest = f"SELECT max(id) FROM runs WHERE {_OF_SURFACE} AND parent_run = '' AND name IN ({marks(wanted)}) GROUP BY name"
    found = await _rows(reader, f"id IN ({newest})", [scope.workspace, SURFACE, *wanted])
    return {run.name: run for run in found}


async def step_rows(reader: Store, run: str) -> dict[int, StepRow]:
    """The present row of each step by number: the one of the newest round."""
    rows = await reader.read(f"SELECT {_STEP_COLUMNS} FROM steps WHERE run = ? ORDER BY round", [run])
    return {row[2]: StepRow(*row) for row in rows}


async def step_rows_of(reader: Store, runs: Sequence[str]) -> dict[str, dict[int, StepRow]]:
    """`step_rows` of several runs at once."""
    found: dict[str, dict[int, StepRow]] = {run: {} for run in runs}
    if runs:
        sql = f"SELECT {_STEP_COLUMNS} FROM steps WHERE run IN ({marks(runs)}) ORDER BY round"
        for row in await reader.read(sql, list(runs)):
            found[row[0]][row[2]] = StepRow(*row)
    return found


async def thing_text(reader: Store, key: str) -> str | None:
    """A stored text by its hash."""
    rows = await reader.read("SELECT data FROM things WHERE hash = ?", [key])
    return bytes(rows[0][0]).decode("utf-8", "replace") if rows else None
