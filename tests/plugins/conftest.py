"""A try for each test of a step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.step import FakeTry


@pytest.fixture
async def ctx(tmp_path: Path) -> AsyncIterator[FakeTry]:
    fake = FakeTry(tmp_path)
    yield fake
    await fake.close()
