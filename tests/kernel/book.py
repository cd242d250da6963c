"""An engine that knows entries and the audit log, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from astrarium.kernel.audit import AuditLog
from astrarium.kernel.clock import Clock, HandClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Registry
from astrarium.kernel.ports import Store
from astrarium.kernel.record.entry import EntryMachine
from astrarium.runs.row import RUNS, STEPS


@asynccontextmanager
async def open_engine(store: Store, registry: Registry, worker: str = "w1", clock: Clock | None = None) -> AsyncIterator[Engine]:
    await store.open()
    await store.enlist(worker, "host", 1, "boot", 30.0)
    engine = Engine(store, registry, clock or HandClock(), worker)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
        await store.close()


def make_registry() -> Registry:
    registry = Registry()
    registry.add_machine(EntryMachine())
    registry.add_machine(AuditLog())
    registry.tables.extend((RUNS, STEPS))
    return registry
