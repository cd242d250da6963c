"""A server that people sign in to at an OIDC provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.issuer import Issuer, open_issuer
from tests.specs.tenancy.conftest import Server


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with open_issuer() as made:
        yield made


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Opens servers over the folder of this test; the one before is closed first."""
    opened: list[Server] = []

    def close() -> None:
        while opened:
            opened.pop().client.__exit__(None, None, None)

    def serving(issuer: str = "", **more: Any) -> Server:
        close()
        at = {"auth": "oidc", "oidc_issuer": issuer, "egress_allow": "127.0.0.1"} if issuer else {}
        server = Server(tmp_path, **{**at, **more})
        server.client.__enter__()
        opened.append(server)
        return server

    yield serving
    close()


@pytest.fixture
def house(serve: Callable[..., Server], issuer: Issuer) -> Server:
    return serve(issuer.url)
