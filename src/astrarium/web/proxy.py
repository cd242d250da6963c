"""A proxy in front of the server: whom to believe what it says of a request, and refusing what came without TLS."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import Forbidden

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"via")
"""What a proxy adds: a request with one of these did not begin on this machine."""
SECURE = {"http": "https", "ws": "wss"}


class Proxied:
    """Takes the client's address and whether it used TLS from `X-Forwarded-For` and `X-Forwarded-Proto`, of proxies at addresses in
    `trusted` only. `tls_only`: what came without TLS is refused; a request from this machine itself crossed no network."""

    def __init__(self, app: ASGIApp, trusted: Collection[Network], tls_only: bool = False) -> None:
        self.app = app
        self.trusted = tuple(trusted)
        self.tls_only = tls_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            told = {name: value for name, value in scope["headers"] if name in FORWARDED}
            here = not told and _is_loopback(_address(scope))
            if told and self._trusts(_address(scope)):
                self._believe(scope, told)
            if self.tls_only and not here and scope["scheme"] not in SECURE.values():
                raise Forbidden(
                    "this server answers over TLS only", code="tls_required", hint="call it through its proxy, as https://…"
                )
        await self.app(scope, receive, send)

    def _trusts(self, address: str) -> bool:
        try:
            given = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(given in network for network in self.trusted)

    def _believe(self, scope: Scope, told: dict[bytes, bytes]) -> None:
        proto = told.get(b"x-forwarded-proto", b"").split(b",")[-1].strip().lower()
        if proto in (b"https", b"wss"):
            scope["scheme"] = SECURE.get(scope["scheme"], scope["scheme"])
        path = [part.strip().decode("latin-1") for part in told.get(b"x-forwarded-for", b"").split(b",")]
        for address in reversed(path):  # the last one no proxy of ours wrote down is the client's
            if address and not self._trusts(address):
                scope["client"] = (address, 0)
                return


def _address(scope: Any) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
