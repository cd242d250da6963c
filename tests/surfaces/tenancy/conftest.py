from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from astrarium.config import Settings
from astrarium.kernel.clock import HandClock
from astrarium.kernel.engine import Engine
from astrarium.store.postgres import PostgresStore
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.tenancy.room import Tenancy
from tests.kernel.book import make_registry, open_engine

Desk = tuple[Tenancy, Engine]
Open = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def open_tenancy(tmp_path: Path, clock: HandClock) -> Open:
    """Opens tenancy over the data folder of this test (or a PostgreSQL database): again after it was closed is a restart."""

    @asynccontextmanager
    async def opened(worker: str = "w1", url: str = "", local_token: str = "", **more: Any) -> AsyncIterator[Desk]:
        settings = Settings(data_dir=tmp_path, **{"auth": "builtin", **more})
        registry = make_registry()
        if url:
            store: Any = PostgresStore(url, tables=registry.tables)
        else:
            store = SqliteStore(tmp_path / "kernel.db", tables=registry.tables, synchronous="normal")
        async with open_engine(store, registry, worker, clock) as engine:
            tenancy = await Tenancy.open(settings, engine, registry, local_token)
            try:
                yield tenancy, engine
            finally:
                await tenancy.aclose()

    return opened


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on: empty = the one in its folder."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_database"))
