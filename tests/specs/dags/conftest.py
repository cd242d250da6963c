from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.specs.dags.desk import Desk, open_desk


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setenv("SHELL", "/bin/sh")
    async with open_desk(tmp_path) as desk:
        yield desk
