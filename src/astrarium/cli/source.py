"""Reading runs where they are kept. That needs neither the server nor its lock: a live server's database is read beside it."""

from __future__ import annotations

import importlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from ..config import Settings
from ..config.live import is_alive
from ..errors import Invalid, NotFound, Unavailable
from ..spec.graph import Graph, decode_graph
from ..store.sqlite import open_reader
from .view import RunView, StepView, lay_out, step_word

Read = Callable[[str, Sequence[Any]], Awaitable[list[tuple[Any, ...]]]]
"""(SQL with `?`, values) → rows."""

DATABASE = "astrarium.db"
LATEST = "latest"
MOST_CHILDREN = 1000
STATUS = "CASE status WHEN 'ended' THEN outcome ELSE status END"
RUN_COLUMNS = (
    f"alias, name, {STATUS}, id, reason, waiting, round, params, trigger, graph, created_at, began_at, ended_at, outputs"
)
STEP_COLUMNS = (
    "node, status, outcome, partial, no, tolerated, tries, passes, exit_code, error, output, started_at, ended_at, round"
)
WAITING = frozenset({"queued", "waiting"})
KEPT = frozenset({"succeeded", "skipped", "partial"})
"""Steps a retry does not run again."""


LEASED = "SELECT count(*) FROM workers WHERE ended = 0 AND lease_until > (extract(epoch from clock_timestamp()) * 1000000)::bigint"
"""Live workers of a shared store, by its clock; that of an embedded one lives as long as its process."""
SHOWN = "surface <> 'notices'"
"""Deliveries of notices are runs too, which nobody asked for by name."""


class Source:
    """Runs as a store keeps them. `read` is the store's own reading; several servers may write to a `shared` one."""

    def __init__(self, read: Read, *, shared: bool = False) -> None:
        self._read = read
        self._shared = shared
        self._graphs: dict[str, Graph] = {}

    async def runs(self, name: str = "", statuses: Sequence[str] = (), limit: int = 50, children: bool = False) -> list[RunView]:
        """Runs, newest first, without their steps. `name` is a part of the DAG's name."""
        where, args = [SHOWN] if children else [SHOWN, "parent_run = ''"], []
        if name:
            where.append("lower(name) LIKE ? ESCAPE '\\'")
            args.append("%" + _literal(name.lower()) + "%")
        if statuses:
            marks = ", ".join("?" * len(statuses))
            where.append(f"{STATUS} IN ({marks})")
            args += statuses
        sql = f"SELECT {RUN_COLUMNS} FROM runs WHERE {' AND '.join(where)} ORDER BY created_at DESC, id DESC LIMIT {int(limit)}"
        return [_run(row) for row in await self._read(sql, args)]

    async def newest(self) -> dict[str, RunView]:
        """The newest run of each DAG, by the DAG's name."""
        newest = f"SELECT max(id) FROM runs WHERE {SHOWN} AND parent_run = '' GROUP BY name"  # ids grow with time
        sql = f"SELECT {RUN_COLUMNS} FROM runs WHERE id IN ({newest})"
        return {row[1]: _run(row) for row in await self._read(sql, ())}

    async def find(self, reference: str) -> RunView:
        """The run a person means: `latest`, an id, the name of a DAG (its newest run), or the beginning of an id.

        Raises `NotFound`, or `Invalid` when several ids begin so."""
        newest = f"SELECT {RUN_COLUMNS} FROM runs WHERE {SHOWN} AND ({{}}) ORDER BY created_at DESC, id DESC LIMIT 5"
        if reference == LATEST:
            rows = await self._read(newest.format("parent_run = ''"), ())
        else:
            rows = await self._read(newest.format("alias = ? OR id = ?"), (reference, reference))
            rows = rows or await self._read(newest.format("name = ? AND parent_run = ''"), (reference,))
        if not rows and reference:
            begin = _literal(reference) + "%"
            rows = await self._read(newest.format("alias LIKE ? ESCAPE '\\' OR id LIKE ? ESCAPE '\\'"), (begin, begin))
            if len(rows) > 1:
                some = ", ".join(str(row[0]) for row in rows)
                raise Invalid(f"several run ids begin with `{reference}`: {some}", hint="write more of it", code="usage")
        if not rows:
            raise NotFound(f"there is no run `{reference}`", hint="`astrarium runs` lists them")
        return _run(rows[0])

    async def is_worked_on(self) -> bool:
        """Whether any process carries runs of this store on. One of another machine is believed to, without a lease that ends."""
        if self._shared:
            return bool((await self._read(LEASED, ()))[0][0])
        rows = await self._read("SELECT host, pid FROM workers WHERE ended = 0", ())
        return any(host != socket.gethostname() or is_alive(pid) for host, pid in rows)

    async def details(self, run: RunView, depth: int = 1) -> RunView:
        """The run as it is now, with its steps and, down to `depth`, the runs under them."""
        rows = await self._read(f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ?", (run.key,))
        if not rows:
            return run
        run = _run(rows[0])
        found: dict[str, StepView] = {}
        by_no: dict[int, StepView] = {}
        for row in await self._read(f"SELECT {STEP_COLUMNS} FROM steps WHERE run = ? ORDER BY round, no", (run.key,)):
            step = _step(row)
            if not run.ended and row[-1] < run.round and step.status not in KEPT:
                step = StepView(step.name)  # reset by the retry that goes on now
            found[step.name] = by_no[int(row[4])] = step
        run.steps = lay_out(await self._graph(run.graph), found)
        if depth > 0 and any(step.kind == "child" for step in run.steps):
            await self._add_children(run, by_no, depth)
        return run

    async def explain(self, runs: Sequence[RunView]) -> None:
        """Say of each of these runs that waits what it waits for."""
        waiting = {run.key: run for run in runs if run.status in WAITING}
        if waiting:
            queue = importlib.import_module("..surfaces.dags.views.queue", __package__)  # few commands need what it loads
            for key, why in (await queue.waiting_of(self._read, list(waiting))).items():
                waiting[key].waiting_for = why

    async def _add_children(self, run: RunView, by_no: dict[int, StepView], depth: int) -> None:
        sql = (
            f"SELECT {RUN_COLUMNS}, parent_step FROM runs WHERE parent_run = ?"
            f" ORDER BY parent_step, parent_index, created_at LIMIT {MOST_CHILDREN}"
        )
        for row in await self._read(sql, (run.key,)):
            step = by_no.get(int(row[-1]))
            if step is not None:
                step.children.append(await self.details(_run(row[:-1]), depth - 1) if depth > 1 else _run(row[:-1]))

    async def _graph(self, key: str) -> Graph:
        if key not in self._graphs:
            rows = await self._read("SELECT data FROM things WHERE hash = ?", (key,))
            self._graphs[key] = decode_graph(bytes(rows[0][0])) if rows else Graph("")
        return self._graphs[key]


@asynccontextmanager
async def open_source(settings: Settings) -> AsyncIterator[Source]:
    """The runs of the data folder, or of the database the settings name. Raises `Unavailable` when there are none."""
    async with open_read(settings) as read:
        yield Source(read, shared=bool(settings.database_url))


@asynccontextmanager
async def open_read(settings: Settings) -> AsyncIterator[Read]:
    """Reading the data folder's database, or the one the settings name. Raises `Unavailable` when there is none."""
    if settings.database_url:
        store = await _open_postgres(settings.database_url)
    else:
        path = settings.data_dir / DATABASE
        if (settings.data_dir / "server.json").exists() and not path.exists():
            raise Unavailable(
                f"the server of {settings.data_dir} keeps its runs in PostgreSQL", hint="name the database with --database-url"
            )
        store = await open_reader(path)
    try:
        yield store.read
    finally:
        await store.close()


async def _open_postgres(url: str) -> Any:
    """Loaded by its name: asyncpg is an extra."""
    try:
        module = importlib.import_module("..store.postgres", __package__)
    except ModuleNotFoundError as error:
        raise Unavailable(
            "PostgreSQL needs the library asyncpg", hint="install it with `pip install 'astrarium[postgres]'`"
        ) from error
    store = module.PostgresStore(url, tables=())
    await store.open()
    return store


def _literal(text: str) -> str:
    """`text` such that LIKE takes it literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _run(row: Sequence[Any]) -> RunView:
    alias, name, status, key, reason, waiting, round_, params, trigger, graph, created, began, ended, outputs = row
    return RunView(
        alias, name, status, key, reason, waiting, round_, params, trigger, graph, created, began, ended,
        msgspec.json.decode(outputs or "{}", type=dict[str, str]) if isinstance(outputs, str) else dict(outputs or {}),
    )  # fmt: skip


def _step(row: Sequence[Any]) -> StepView:
    node, status, outcome, partial, no, tolerated, tries, passes, exit_code, error, output, started, ended, round_ = row
    return StepView(
        node, step_word(status, outcome, bool(partial)), no, tolerated=bool(tolerated), tries=tries, passes=passes,
        exit_code=exit_code, error=error, output=output, started_at=started, ended_at=ended, round=round_,
    )  # fmt: skip
