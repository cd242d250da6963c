"""One process's engine, store, step types and executors: what the server and `astrarium run` share.

A worker has an id of its own in the store. It enlists, kills what dead workers of this host left running, takes their jobs over,
and works until it is closed or fenced.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .config import Settings
from .errors import AstrariumError, NotFound, Unavailable
from .kernel.audit import AuditLog
from .kernel.clock import SystemClock
from .kernel.engine import Engine
from .kernel.machine import Registry
from .kernel.ports import Fenced, Store
from .kernel.record.entry import EntryMachine
from .lazy import plugins
from .runs.ports import SECRETS_GROUP, Caller, Definitions, Executor, Model, Step
from .runs.run import RunMachine
from .runs.state import decode_definition
from .runs.work.job import run_jobs
from .runs.work.tool.means import Late, Means, load_providers, load_tools, read_grants, read_prices
from .runs.work.workshop import Workshop
from .spec.graph import Graph
from .spec.ids import uuid7
from .store.blob.artifact import open_artifacts
from .store.sqlite import SqliteStore

log = logging.getLogger("astrarium.worker")
STEPS_GROUP = "astrarium.steps"
EXECUTORS_GROUP = "astrarium.executors"
CALLERS_GROUP = "astrarium.callers"
LEFTOVERS_GROUP = "astrarium.leftovers"
STOP_GRACE_S = 5.0
RECOVER_AGAIN_S = 1.0
INLINE_BELOW_S = 0.0005
"""While the disk makes a commit durable in less than this, the loop commits itself: going to a thread and back costs more."""


def load_steps() -> dict[str, Step]:
    """Every installed step type by kind, built-in or a stranger's: all come through the entry points."""
    found = {entry.name: entry.load() for entry in plugins(STEPS_GROUP)}
    if not found:
        raise Unavailable("no step types are installed", hint="reinstall astrarium: its entry points are missing")
    return found


def boot_id() -> str:
    """Tells one start of this machine from another; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def load_plugin(group: str, name: str) -> Any:
    for entry in plugins(group).select(name=name):
        return entry.load()
    raise Unavailable(f"{group} has no {name!r}", hint="reinstall astrarium: its entry points are missing")


def means_of(settings: Settings) -> Means:
    """What the settings let tries use beside processes."""
    key = os.environ.get(settings.model_key_env, "") if settings.model_key_env else ""
    return Means(
        Late(load_tools), Late(load_providers), open_artifacts(settings), read_grants(settings.graph_grants),
        Path(settings.graph_files).expanduser().absolute() if settings.graph_files else None,
        Model(settings.model_name, settings.model_url, key), read_prices(settings.model_prices),
    )  # fmt: skip


async def no_definitions(name: str, calling: Graph) -> tuple[str, Graph]:
    """For a worker without a catalogue: only definitions within the calling document exist, and those it does not know."""
    raise NotFound(f"there is no DAG {name!r}")


def open_store(settings: Settings, registry: Registry) -> Store:
    """The store the settings name: a PostgreSQL URL, or the embedded database of the data folder."""
    if not settings.database_url:
        path = settings.data_dir / "astrarium.db"
        return SqliteStore(path, tables=registry.tables, synchronous=settings.synchronous, inline_below_s=INLINE_BELOW_S)
    try:
        module = import_module("astrarium.store.postgres")  # by name: its driver is an extra
    except ImportError as error:
        raise Unavailable(
            f"PostgreSQL needs the package {error.name}", hint="install astrarium with its extra: astrarium[postgres]"
        ) from None
    store: Store = module.PostgresStore(settings.database_url, tables=registry.tables)
    return store


async def end_task(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Worker:
    """Made by `open`; `engine` takes commands until `close`."""

    def __init__(self, settings: Settings, registry: Registry, store: Store) -> None:
        self.settings = settings
        self.registry = registry
        self.store = store
        self.id = uuid7()
        self.engine = Engine(store, registry, SystemClock(), self.id, hot_limit=settings.hot_runs)
        self.steps = load_steps()
        self.executor: Executor
        self.caller: Caller
        self.shop: Workshop
        self._recovery: asyncio.Task[None] | None = None
        self._beat: asyncio.Task[None] | None = None
        self._drained = False

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        definitions: Definitions | None = None,
        registry: Registry | None = None,
        places: Mapping[str, int] | None = None,
    ) -> Worker:
        """Open the store, recover, and start working. `places` limits jobs beside the steps' (0 = this worker leaves them to others).
        Raises `Unavailable` with a clear sentence when the store cannot be used."""
        registry = registry if registry is not None else Registry()
        registry.add_machine(RunMachine())
        registry.add_machine(AuditLog())
        registry.add_machine(EntryMachine())
        registry.add_thing("graph", decode_definition)
        store = open_store(settings, registry)
        worker = cls(settings, registry, store)
        await store.open()
        try:
            await worker._start(definitions or no_definitions, places or {})
        except BaseException:
            await store.close()
            raise
        return worker

    async def _start(self, definitions: Definitions, places: Mapping[str, int]) -> None:
        settings = self.settings
        spawned = settings.data_dir / "spawned"
        spawned.mkdir(mode=0o700, parents=True, exist_ok=True)
        local: type[Executor] = load_plugin(EXECUTORS_GROUP, "local")
        await self.store.enlist(self.id, socket.gethostname(), os.getpid(), boot_id(), settings.lease_s)
        await self._kill_leftovers(local, spawned)
        self.executor = local.open(self.id, spawned)
        self.caller = load_plugin(CALLERS_GROUP, "python")(self.executor, settings.max_python_workers)
        self.shop = Workshop(
            self.engine, self.steps, self.executor, self.caller, settings.data_dir, definitions,
            max_log_bytes=settings.log_max_bytes, default_shell=settings.default_shell, egress_allow=settings.egress_allow,
            secrets={entry.name: entry.load() for entry in plugins(SECRETS_GROUP)}, means=means_of(settings),
        )  # fmt: skip
        for kind in run_jobs(self.shop):
            self.registry.add_kind(kind)
        await self.engine.start()
        limits = {"process": settings.max_processes, "python": settings.max_python_workers, **places}
        await self.engine.jobs.start_working(limits)
        self._recovery = asyncio.create_task(self._recover(), name="astrarium-recovery")
        if self.store.shared:
            self._beat = asyncio.create_task(self._beat_loop(), name="astrarium-lease")
        # What is loaded by now stays: the collector need not look at it, not even once, and may look at the rest less often.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    async def _kill_leftovers(self, local: type[Executor], spawned: Path) -> None:
        """Processes of this host's dead workers end before their steps are judged."""
        ended = [row[0] for row in await self.store.read("SELECT id FROM workers WHERE ended > 0")]
        count = await asyncio.to_thread(local.recover, ended, spawned)
        for entry in plugins(LEFTOVERS_GROUP):
            count += await asyncio.to_thread(entry.load(), ended, spawned)
        if count:
            log.warning("killed %d processes and containers a dead server left running", count)

    async def _recover(self) -> None:
        """Take over what dead workers left, in the background: the first of their steps begin while the rest is still being read."""
        while True:
            try:
                await self.engine.jobs.take_over()
                return
            except AstrariumError as error:
                log.error("what the last server left could not all be taken over yet: %s", error)
                await asyncio.sleep(RECOVER_AGAIN_S)

    async def _beat_loop(self) -> None:
        """Keep the lease of a shared store, and go on looking for the dead."""
        while True:
            await asyncio.sleep(self.settings.lease_s / 3)
            try:
                await self.store.renew(self.id, self.settings.lease_s)
                await self.engine.jobs.take_over()
                self.engine.jobs.look()
            except Fenced:
                log.error("this server's lease was taken over: stopping what it runs")
                self.shop.stop_all("server_stop", 0.0)
                self.engine.fenced.set()
                return
            except AstrariumError as error:
                log.warning("the lease could not be renewed: %s", error)

    async def drain(self, drain_s: float | None = None) -> None:
        """Begin nothing more, let running tries finish for `drain_s` seconds (None = the settings'), then stop the rest. Commands are still
        taken; their work waits for who comes next. Done once."""
        if self._drained:
            return
        await end_task(self._recovery)
        if not await self.engine.jobs.drain(self.settings.drain_timeout_s if drain_s is None else drain_s):
            self.shop.stop_all("server_stop", STOP_GRACE_S)
            await self.engine.jobs.drain(STOP_GRACE_S + 2)
        self._drained = True

    async def close(self, drain_s: float | None = None) -> None:
        """Drain, and leave nothing running."""
        await self.drain(drain_s)
        await end_task(self._beat)
        await self.shop.keep.close_all()
        await self.caller.close(1.0)
        await self.executor.close(1.0)
        await self.engine.close()
        await self.store.retire(self.id)
        await self.store.close()
