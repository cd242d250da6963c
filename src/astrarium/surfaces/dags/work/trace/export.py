"""Traces: runs that ended are told to a collector, from their own events, after their end and beside all other work.

Where the export stands is kept in `traces.json` of the data folder: after a crash, what ended since is told again (spans have the
same ids each time). A collector that does not answer is tried a few times, then its spans are given up and the log says so; others
do not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from .....errors import AstrariumError, Invalid, NotFound
from .....kernel.engine import Engine
from .....runs import message as m
from .....runs.state import RunState
from .....runs.work.environment import server_environment
from .....runs.work.trace import is_traced, otel_of
from .....spec.expand import Variables, expand
from .....spec.graph import Graph
from ...views import query
from ...views.query import SURFACE, RunRow
from .check import HINT

log = logging.getLogger("astrarium.traces")

SPANS = "astrarium.surfaces.dags.work.trace.span"
FILE = "traces.json"
MOST_WAITING = 10_000
"""Runs that wait to be told, and as many that are being sent; more are given up, the oldest first."""
BATCH = 100
MOST_COLLECTORS = 100
"""Kept open; they may differ from run to run, as their texts may name its variables."""
THREADS = 16
"""One for each collector that is waited for; made when they are needed."""
PAUSES_S = (1.0, 4.0, 15.0)
"""Before each further try to reach a collector. One that was given up is tried once, until it answers again."""
CATCH_UP = (
    "SELECT position, stream FROM events WHERE workspace = ? AND position > ? AND type = 'RunEnded' ORDER BY position LIMIT ?"
)
HEADS = "SELECT workspace, position FROM log_heads"


class Ended(NamedTuple):
    """A run to be told; position 0 = the log was not asked where its end stands."""

    run: str
    workspace: str
    position: int = 0


class Collector:
    """Where spans are sent, one request at a time."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.exporter: Any = None
        self.away = False


class Sending(NamedTuple):
    """Runs on their way; once they and all before them are told, so is everything up to `heads`."""

    batch: list[Ended]
    heads: Mapping[str, int]
    done: asyncio.Future[Any]


class Tracer:
    """Of one process. Idle, without a thread and a task, until the first traced run ends."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._waiting: deque[Ended] = deque()
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._collectors: dict[Any, Collector] = {}
        self._under_way: deque[Sending] = deque()
        self._number_sent = 0
        self._moved = asyncio.Event()
        self._spans: ModuleType | None = None
        self._heads: dict[str, int] = {}
        self._engine: Engine
        self._closing = False

    async def open(self, engine: Engine) -> None:
        """Listen to ends of runs, and find those that ended while nobody did."""
        self._engine = engine
        engine.registry.listen(m.RunEnded, self._ended)
        self._heads = await self._read_heads()
        for workspace, position in self._read_file().items():
            rows = await engine.store.read(CATCH_UP, (workspace, position, MOST_WAITING))
            for at, stream in rows:
                self._add(Ended(str(stream).partition(":")[2], workspace, int(at)))

    def _ended(self, stream: str, event: m.RunEnded) -> None:
        hot = self._engine.memory.hot.get(stream)
        state = hot.state if hot is not None else None  # another server's run has none here: it tells it
        if isinstance(state, RunState) and state.surface == SURFACE and is_traced(state.known.graph, os.environ):
            self._add(Ended(state.run, state.scope.workspace))

    def _add(self, ended: Ended) -> None:
        self._waiting.append(ended)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            log.error("more than %d runs wait to be traced: the oldest is given up", MOST_WAITING)
        self._idle.clear()
        self._woken.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="astrarium-traces")

    async def finish(self, timeout_s: float) -> None:
        """Let what waits be told, for so long at most; each collector is tried once from now on."""
        self._closing = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            log.warning("%d runs are not traced: the process ends", len(self._waiting))

    async def close(self) -> None:
        """End it; what is on its way is told again by the next process."""
        ended: list[asyncio.Future[Any]] = [one.done for one in self._under_way]
        self._under_way.clear()
        if self._task is not None:
            ended.append(self._task)
        for one in ended:
            one.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        for collector in self._collectors.values():
            if collector.exporter is not None:
                collector.exporter.shutdown()  # ends the pause of one that is trying again
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    # -- the work -----------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                try:
                    self._begin_file(batch)
                    heads = await self._read_heads()
                    spans = await self._library()
                    groups = await self._sort(spans, batch)
                except AstrariumError as error:
                    log.error("%d runs could not be traced: %s", len(batch), error.message)
                    continue
                # Ends that wait were committed after those of this batch; without any, none before `heads` is left.
                sending = asyncio.gather(*(self._send(spans, target, made) for target, made in groups.items()))
                self._under_way.append(Sending(batch, {} if self._waiting else heads, sending))
                self._number_sent += len(batch)
                sending.add_done_callback(self._sent)
                while self._number_sent >= MOST_WAITING:
                    self._moved.clear()
                    await self._moved.wait()
            self._rest()

    def _sent(self, _: asyncio.Future[Any]) -> None:
        while self._under_way and self._under_way[0].done.done():
            sending = self._under_way.popleft()
            self._number_sent -= len(sending.batch)
            error = sending.done.exception()
            if error is not None:
                log.error("%d runs could not be traced", len(sending.batch), exc_info=error)
            self._advance_file(sending)
        self._moved.set()
        self._rest()

    def _rest(self) -> None:
        if not self._waiting and not self._under_way:
            self._idle.set()

    async def _sort(self, spans: ModuleType, batch: list[Ended]) -> dict[Any, list[Any]]:
        """The spans of runs by where they go; a resource is the spans' own."""
        groups: dict[Any, list[Any]] = {}
        for ended in batch:
            row = await query.run_of(self._engine.store, ended.run)
            if row is None:
                continue
            graph = (await self._engine.things.fetch([row.graph]))[row.graph].graph
            if not is_traced(graph, os.environ):
                continue
            try:
                target = await target_of(spans, row, graph)
            except Invalid as error:
                log.error("run %s cannot be traced: %s", row.id, error.message)
                continue
            groups.setdefault(target._replace(resource=()), []).extend(await self._build(spans, row, graph, target))
        return groups

    async def _library(self) -> ModuleType:
        """Loaded beside the loop: it takes a while, once."""
        if self._spans is None:
            self._threads = self._threads or ThreadPoolExecutor(THREADS, "astrarium-traces")
            try:
                self._spans = await asyncio.get_running_loop().run_in_executor(self._threads, import_module, SPANS)
            except ImportError as error:
                raise NotFound(f"traces need the package {error.name}", hint=HINT) from None
        return self._spans

    async def _build(self, spans: ModuleType, row: RunRow, graph: Graph, target: Any) -> list[Any]:
        parent = (row.parent_run, row.parent_round, row.parent_step) if row.parent_run else None
        before = await query.run_of(self._engine.store, row.rerun_of) if row.rerun_of else None
        again = (before.root or before.id, before.id, before.round) if before is not None else None
        traced = spans.Traced(row.id, row.root or row.id, row.name, row.alias, row.trigger, graph, parent, again)
        builder, after = spans.Builder(traced, target), 0
        while page := await self._engine.tail.read_stream(f"run:{row.id}", after):
            for event in page:
                builder.add(event)
            after = page[-1].seq
        made: list[Any] = builder.spans
        return made

    async def _send(self, spans: ModuleType, target: Any, made: list[Any]) -> None:
        """Tell one collector; a few tries, then what it did not take is given up."""
        loop, collector = asyncio.get_running_loop(), self._collector(target)
        async with collector.turn:
            for pause_s in (*(() if collector.away else PAUSES_S), None):
                try:
                    if collector.exporter is None:  # in a thread: for the first, a library is loaded
                        collector.exporter = await loop.run_in_executor(self._threads, spans.open_exporter, target)
                    if await loop.run_in_executor(self._threads, spans.export, collector.exporter, made):
                        collector.away = False
                        return
                except (ImportError, OSError, ValueError) as error:
                    log.warning("spans cannot be sent to %s: %s", target.endpoint or "the server's collector", error)
                if pause_s is None or self._closing:
                    break
                await asyncio.sleep(pause_s)
            collector.away = True
        log.error(
            "%d spans are lost: the collector %s did not take them", len(made), target.endpoint or "of the server's environment"
        )

    def _collector(self, target: Any) -> Collector:
        if target not in self._collectors and len(self._collectors) >= MOST_COLLECTORS:
            self._collectors.pop(next(iter(self._collectors)))  # whoever uses it still may
        return self._collectors.setdefault(target, Collector())

    # -- where it stands ----------------------------------------------------------------------------------------------

    async def _read_heads(self) -> dict[str, int]:
        return {str(workspace): int(position) for workspace, position in await self._engine.store.read(HEADS)}

    def _read_file(self) -> dict[str, int]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, int])
        except (OSError, msgspec.DecodeError):
            return {}

    def _begin_file(self, batch: list[Ended]) -> None:
        """Of a workspace none of whose runs was told: all that ends from this process's start on is, also after a crash."""
        known = self._read_file()
        new = {ended.workspace: self._heads.get(ended.workspace, 0) for ended in batch if ended.workspace not in known}
        if new:
            self._write_file({**known, **new})

    def _advance_file(self, sent: Sending) -> None:
        known = self._read_file()
        for ended in sent.batch:
            known[ended.workspace] = max(known.get(ended.workspace, 0), ended.position)
        for workspace, head in sent.heads.items():
            known[workspace] = max(known.get(workspace, 0), head)
        self._write_file(known)

    def _write_file(self, known: Mapping[str, int]) -> None:
        part = self._file.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode(known))
            part.replace(self._file)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file, error)


async def target_of(spans: ModuleType, row: RunRow, graph: Graph) -> Any:
    """Where a run's spans go, by its DAG's `otel` block; variables are those of the run, never the server's secrets."""
    block = otel_of(graph)
    if not block:
        return spans.Target()
    resolved = msgspec.json.decode(row.resolved, type=m.Resolved)
    known = {**server_environment(), **dict(resolved.env), **{name: text for name, text in resolved.params if name}}
    known.update(DAG_NAME=row.name, DAG_RUN_ID=row.alias)

    async def refuse(command: str) -> str:
        raise Invalid(f"`{command}` is not run for a trace")

    async def text(value: Any) -> str:
        return await expand(str(value), Variables(known), refuse)

    return spans.Target(
        await text(block.get("endpoint") or ""),
        tuple(sorted([(str(name), await text(value)) for name, value in dict(block.get("headers") or {}).items()])),
        bool(block.get("insecure")),
        seconds(block.get("timeout")),
        tuple(sorted([(str(name), await text(value)) for name, value in dict(block.get("resource") or {}).items()])),
    )


def seconds(value: Any) -> float:
    """`10`, `10s` or `500ms` (Dagu 1.30 takes a Go duration); 0 = nothing that can be read."""
    text = str(value or "").strip().lower()
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        number = text.removesuffix(unit) if unit else text
        if text.endswith(unit) and number.replace(".", "", 1).isdigit():
            return float(number) * factor
    return 0.0
