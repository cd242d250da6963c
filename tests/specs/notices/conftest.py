"""Servers of one test, and what they send to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.specs.notices.place import Place


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    made: list[Place] = []

    def make(**env: str) -> Place:
        made.append(Place(tmp_path / f"place{len(made)}", **env))
        return made[-1]

    yield make
    for place in made:
        place.close()
