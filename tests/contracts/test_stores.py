"""Every store keeps the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astrarium.kernel.ports import Store
from astrarium.store.postgres import PostgresStore
from astrarium.store.sqlite import SqliteStore

from .store import Make, StoreContract


class TestSqlite(StoreContract):
    dialect = "sqlite"
    inline = False
    readers: int | None = None

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        def made(**settings: Any) -> Store:
            return SqliteStore(
                tmp_path / "data" / "astrarium.db", inline=self.inline, readers=self.readers, verify=True, **settings
            )

        return made


class TestSqliteInline(TestSqlite):
    inline = True


class TestSqliteInlineWithReaders(TestSqlite):
    inline = True
    readers = 2


@pytest.mark.postgres
class TestPostgres(StoreContract):
    dialect = "postgres"

    @pytest.fixture
    def make(self, postgres_database: str) -> Make:
        def made(**settings: Any) -> Store:
            return PostgresStore(postgres_database, **settings)

        return made
