"""One server for each module; tests speak HTTP to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of this module."""
    made = Server(tmp_path_factory.mktemp("data"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers over folders of this test; all end with it."""
    made: list[Server] = []

    def start(name: str = "data", **more: Any) -> Server:
        made.append(Server(tmp_path / name, **more))
        return made[-1]

    yield start
    for server in made:
        server.close()
