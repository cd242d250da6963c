"""A server with users and graphs, for clients that were generated from its document."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.specs.graphs.conftest import DOCUMENTS, Server

NAMES = ("ask.yaml", "loop.yaml", "artifact.yaml", "bakery.py")
OFFERED = {name: DOCUMENTS[name].replace("promotion:approve", "runs:respond") for name in NAMES}
PASSWORD = "correct-horse-battery"


@pytest.fixture
def signed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("signed") / "data", OFFERED, auth="builtin", admin_password=PASSWORD)
    try:
        assert made.client is not None, made.said
        yield made
    finally:
        made.close()
