"""A server that people sign in to at an OIDC provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.issuer import Issuer, open_issuer
from tests.specs.tenancy.conftest import Server, one_after_the_other


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with open_issuer() as made:
        yield made


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Servers over the folder of this test; with the address of a provider people sign in there."""
    with one_after_the_other(tmp_path) as serving:

        def at(issuer: str = "", **more: Any) -> Server:
            oidc = {"auth": "oidc", "oidc_issuer": issuer, "egress_allow": "127.0.0.1"} if issuer else {}
            return serving(**{**oidc, **more})

        yield at


@pytest.fixture
def house(serve: Callable[..., Server], issuer: Issuer) -> Server:
    return serve(issuer.url)
