"""Whom to believe what it says of a request."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from astrarium.errors import Forbidden
from astrarium.web.proxy import Proxied

TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


async def through(
    client: str, tls_only: bool = False, scheme: str = "http", kind: str = "http", **headers: str
) -> tuple[str, str]:
    """The scheme and the address an application is told."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["scheme"], scope["client"][0]))

    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "scheme": scheme, "client": (client, 1), "headers": told}
    await Proxied(app, TRUSTED, tls_only)(scope, None, None)  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize(("client", "proto", "path", "seen"), [
    ("10.0.0.1", "https", "192.0.2.1", ("https", "192.0.2.1")),
    ("fd00::1", "https", "192.0.2.1, 10.9.9.9", ("https", "192.0.2.1")),
    ("10.0.0.1", "https", "6.6.6.6, 192.0.2.1", ("https", "192.0.2.1")),
    ("10.0.0.1", "http", "10.0.0.2", ("http", "10.0.0.1")),
    ("10.0.0.1", "https", "", ("https", "10.0.0.1")),
    ("192.0.2.9", "https", "192.0.2.1", ("http", "192.0.2.9")),
    ("nonsense", "https", "192.0.2.1", ("http", "nonsense")),
])  # fmt: skip
async def test_a_proxy_is_believed_where_it_is_trusted(client: str, proto: str, path: str, seen: tuple[str, str]) -> None:
    assert await through(client, x_forwarded_proto=proto, x_forwarded_for=path) == seen


async def test_without_tls_nobody_is_answered_but_this_machine() -> None:
    assert await through("127.0.0.1", tls_only=True) == ("http", "127.0.0.1")
    assert await through("192.0.2.1", tls_only=True, scheme="https") == ("https", "192.0.2.1")
    assert await through("10.0.0.1", tls_only=True, scheme="ws", kind="websocket", x_forwarded_proto="wss") == ("wss", "10.0.0.1")
    for client, headers in (("192.0.2.1", {}), ("10.0.0.1", {}), ("127.0.0.1", {"x_forwarded_for": "1.2.3.4"}),
                            ("192.0.2.1", {"x_forwarded_proto": "https"}), ("127.0.0.1", {"via": "1.1 proxy"})):  # fmt: skip
        with pytest.raises(Forbidden, match="TLS only"):
            await through(client, tls_only=True, **headers)
