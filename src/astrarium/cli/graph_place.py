"""Where runs of graphs are: reading needs nobody, orders go to the live server, or else this process is the worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

import msgspec

from ..config import Settings
from ..errors import Invalid, NotFound
from ..kernel.clock import SystemClock
from ..kernel.engine import Engine
from ..kernel.machine import Registry
from ..kernel.types import Command
from ..runs.message import StopRun
from ..runs.run import RunMachine
from ..runs.state import decode_definition
from ..spec.ids import uuid7
from ..surfaces.graphs import wire
from ..surfaces.graphs.catalog import Catalog, Entry
from ..surfaces.graphs.desk import Desk, run_alias, start_order
from ..surfaces.graphs.views import query
from ..surfaces.graphs.views.query import SURFACE, RunRow
from ..surfaces.graphs.views.run import RunViews
from ..web.caller import LOCAL_OWNER, Caller
from ..worker import Worker
from .alone import open_worker
from .graph_file import catalog_of
from .link import Server, ask, live_server, segment
from .source import LATEST, Read, open_read

API = "/v1"
LOOK_EVERY_S = 0.1


class Reader:
    """What an engine asks of a store that it only reads."""

    def __init__(self, read: Read, shared: bool) -> None:
        self.read = read
        self.shared = shared


@asynccontextmanager
async def open_reading(settings: Settings) -> AsyncIterator[Engine]:
    """An engine that can be asked and takes no orders; a live server may write meanwhile. Raises `Unavailable` when there is nothing."""
    async with open_read(settings) as read:
        yield reading_engine(read, settings)


def reading_engine(read: Read, settings: Settings) -> Engine:
    registry = Registry()
    registry.add_machine(RunMachine())
    registry.add_thing("graph", decode_definition)
    reader: Any = Reader(read, bool(settings.database_url))
    return Engine(reader, registry, SystemClock(), "reader")


async def find_row(read: Read, reference: str) -> RunRow:
    """The run a person means: `latest`, an id or the beginning of one, or a graph's id (its newest run). Raises `NotFound`, `Invalid`."""
    store: Any = Reader(read, False)
    own = (f"surface = '{SURFACE}' AND parent_run = ''", list[Any]())
    tried: list[tuple[str, list[Any]]] = [own] if reference == LATEST else [
        ("(alias = ? OR id = ?)", [reference, reference]),
        (f"surface = '{SURFACE}' AND parent_run = '' AND name IN (?, ?)", [reference, f"graph:{reference}"]),
    ]  # fmt: skip
    for where in tried:
        rows = await query.run_rows(store, [where], 1, 0)
        if rows:
            return rows[0]
    begin = reference.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = await query.run_rows(store, [("(alias LIKE ? ESCAPE '\\' OR id LIKE ? ESCAPE '\\')", [begin, begin])], 5, 0)
    if len(rows) > 1:
        some = ", ".join(row.alias for row in rows)
        raise Invalid(f"several run ids begin with `{reference}`: {some}", hint="write more of it", code="usage")
    if not rows or not reference:
        raise NotFound(f"there is no run `{reference}`", hint="`astrarium graph runs` lists them")
    return rows[0]


async def read_row(read: Read, run: str) -> RunRow:
    rows = await query.run_rows(Reader(read, False), [("id = ?", [run])], 1, 0)  # type: ignore[arg-type]  # all that it asks is `read`
    if not rows:
        raise NotFound(f"there is no run {run} any more")
    return rows[0]


async def summary_of(engine: Engine, run: str) -> dict[str, Any]:
    """The run as `/v1/runs/{id}` tells it, with the state it came to."""
    row = await read_row(engine.store.read, run)
    told: dict[str, Any] = msgspec.to_builtins(await RunViews(engine).summary(row))
    state = await engine.state(f"run:{run}", row.scope)
    told.pop("last_event_seq", None)
    return {**told, "state": state.document if state is not None else {}}


# -- orders ----------------------------------------------------------------------------------------------------------------


class Place(Protocol):
    """Who carries orders out. `start` and `fork` give the store's id of the new run; `wait` returns when something may have changed."""

    @property
    def read(self) -> Read: ...
    async def start(self, entry: Entry, state: dict[str, Any]) -> str: ...
    async def order(self, what: str, row: RunRow, body: dict[str, Any]) -> dict[str, Any]: ...
    async def stop(self, row: RunRow, hurry: bool) -> None: ...
    async def wait(self) -> None: ...


class There(NamedTuple):
    """The live server."""

    server: Server
    read: Read

    async def start(self, entry: Entry, state: dict[str, Any]) -> str:
        """Raises `Invalid` when the server offers no such graph, or another version."""
        offered = {one["graph_id"]: one["graph_hash"] for one in await self._ask("GET", "/graphs")}
        if offered.get(entry.id) != entry.hash:
            told = "another version of it" if entry.id in offered else "no such graph"
            hint = "put the file into its graphs_dir, start it with --graph FILE, or run with another --data-dir"
            raise Invalid(f"the server at {self.server.url} works on this data folder and offers {told}: {entry.id}", hint=hint)
        begun = await self._ask("POST", "/runs", {"graph_id": entry.id, "params": state})
        return (await find_row(self.read, begun["run_id"])).id

    async def order(self, what: str, row: RunRow, body: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = await self._ask("POST", f"/runs/{segment(row.alias)}/{what}", body)
        return told

    async def stop(self, row: RunRow, hurry: bool) -> None:
        await self.order("cancel", row, {"grace_seconds": 0} if hurry else {})

    async def wait(self) -> None:
        await asyncio.sleep(LOOK_EVERY_S)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(ask, self.server, method, path, body, api=API)


class Here(NamedTuple):
    """This process."""

    worker: Worker
    desk: Desk

    @property
    def read(self) -> Read:
        return self.worker.store.read

    async def start(self, entry: Entry, state: dict[str, Any]) -> str:
        run, scope = uuid7(), LOCAL_OWNER.scope
        order = start_order(entry, state, run_alias(entry.id, scope.workspace, ""), "manual")
        await self.worker.engine.submit(Command(f"run:{run}", order, scope, LOCAL_OWNER.actor), things=entry.things)
        return run

    async def order(self, what: str, row: RunRow, body: dict[str, Any]) -> dict[str, Any]:
        caller = msgspec.structs.replace(LOCAL_OWNER, scope=row.scope)
        desk, path = self.desk, f"/runs/{row.alias}/{what}"
        if what == "respond":
            await desk.respond(caller, row, msgspec.convert(body, wire.RespondRun), path)
        elif what == "counterfactual":
            ask = convert(body, wire.ForkRequest)
            told: dict[str, Any] = msgspec.to_builtins(await desk.fork(caller, row, ask, path))
            return told
        elif what == "resume":
            await desk.resume(caller, row, body.get("from_step"))
        elif what == "pause":
            await desk.pause(caller, row)
        else:
            await desk.cancel(caller, row, body.get("grace_seconds"))
        summary: dict[str, Any] = msgspec.to_builtins(await desk.summary(row))
        return summary

    async def stop(self, row: RunRow, hurry: bool) -> None:
        order = StopRun("cancelled", "user", "signal" if hurry else "cooperative", 0.0 if hurry else None)
        await self.worker.engine.submit(Command(f"run:{row.id}", order, row.scope, LOCAL_OWNER.actor))

    async def wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.worker.engine.tail.changed(), 1.0)


def convert(body: dict[str, Any], kind: Any) -> Any:
    """Raises `Invalid` in words that name the place."""
    try:
        return msgspec.convert(body, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise Invalid(str(error), code="usage") from None


async def denied(caller: Caller, capability: str, operation: str, path: str) -> None:
    """The local owner is denied nothing."""


@asynccontextmanager
async def open_place(settings: Settings, catalog: Catalog | None = None, *, idle: bool = False) -> AsyncIterator[Place]:
    """Who takes orders for the data folder; an `idle` worker of ours carries nothing out. Raises `Unavailable`."""
    server = live_server(settings)
    if server is not None:
        async with open_read(settings) as read:
            yield There(server, read)
        return
    if catalog is None:
        catalog = catalog_of(settings)
        await asyncio.to_thread(catalog.refresh)
    async with open_worker(settings, idle=idle, graphs=catalog) as worker:
        yield Here(worker, Desk(worker.engine, catalog, denied))
