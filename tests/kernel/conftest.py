from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from astrarium.kernel.clock import HandClock
from tests.kernel.tally import Room, open_room


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def room(tmp_path: Path, clock: HandClock) -> AsyncIterator[Room]:
    async with open_room(tmp_path, clock=clock) as room:
        yield room
