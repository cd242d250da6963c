"""Where the server itself may call: everywhere but into the machine and the network it stands in.

For calls whose address somebody else may choose (webhooks, other nodes). A name is resolved here, its addresses are checked, and
the connection goes to a checked one, so that a name which answers differently the second time gains nothing; each hop of a
redirect is a connection and checked like the first. Proxies of the environment are not used: they would resolve names themselves.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..errors import Forbidden, Invalid, Problem
from ..lazy import library

if TYPE_CHECKING:
    import httpcore2
    import httpx2
else:
    httpcore2 = library("httpcore2")
    httpx2 = library("httpx2")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
logging.getLogger("httpx2").setLevel(logging.WARNING)
"""The client logs whole addresses, and those of webhooks may hold secrets."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Allowed(msgspec.Struct, frozen=True):
    """One exception: a host name or a network, and a port (0 = any)."""

    name: str = ""
    network: Network | None = None
    port: int = 0

    def lets(self, host: str, address: Address, port: int) -> bool:
        if self.port and self.port != port:
            return False
        if self.network is not None:
            return address in self.network
        return host.lower().rstrip(".") == self.name


def parse_allowed(text: str) -> tuple[Allowed, ...]:
    """The exceptions of the setting `egress_allow`. Raises `Invalid`."""
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip())


def _parse(part: str) -> Allowed:
    host, port = part, 0
    head, colon, tail = part.rpartition(":")
    if colon and tail.isascii() and tail.isdigit() and (":" not in head or head.endswith("]")):
        host, port = head, int(tail)
    host = host.strip("[]")
    try:
        return Allowed(network=ipaddress.ip_network(host, strict=False), port=port)
    except ValueError:
        if host and port < 65536 and not set(host) & set("/:@ *"):
            return Allowed(name=host.lower().rstrip("."), port=port)
    problem = Problem(f"{part!r} is no host name, address or network", path="egress_allow")
    raise Invalid(f"egress_allow: {problem.message}", [problem], code="bad_settings")


def is_outside(address: Address) -> bool:
    """Whether an address belongs to the public internet; addresses that wrap an IPv4 address are judged by that one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_outside(inner)
    return address.is_global and not address.is_multicast


class Egress:
    """The filter, with its exceptions as the setting `egress_allow` names them."""

    def __init__(self, allow: str = "") -> None:
        self._allowed = parse_allowed(allow)

    def check(self, host: str, port: int, addresses: Iterable[str]) -> list[str]:
        """The addresses of a host that may be called. Raises `Forbidden` when there is none."""
        good: list[str] = []
        for text in addresses:
            address = ipaddress.ip_address(text.partition("%")[0])
            if is_outside(address) or any(rule.lets(host, address, port) for rule in self._allowed):
                good.append(text)
        if not good:
            raise Forbidden(
                f"{host}:{port} lies inside this server's own network and is not called", code="egress_refused",
                hint="the setting egress_allow names what may be called all the same",
            )  # fmt: skip
        return good

    async def resolve(self, host: str, port: int) -> list[str]:
        """The checked addresses of a host. Raises `Forbidden`, or `OSError` when the name is not known."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return self.check(host, port, dict.fromkeys(str(entry[4][0]) for entry in found))

    def open_client(self, timeout_s: float, *, verify: bool = True, follow_redirects: bool = False) -> httpx2.AsyncClient:
        """A client all of whose connections pass the filter; what it may not call raises `Forbidden`."""
        transport = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False)
        context = httpx2.create_ssl_context(verify=verify, trust_env=False)
        backend = cast("httpcore2.AsyncNetworkBackend", _Backend(self))
        transport._pool = httpcore2.AsyncConnectionPool(ssl_context=context, network_backend=backend)
        timeout = httpx2.Timeout(timeout_s or None)
        return httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=follow_redirects, trust_env=False)


class _Backend:
    """A backend of the client's pool that connects to a checked address; TLS still asks for the host's name."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = await asyncio.wait_for(self._egress.resolve(host, port), timeout)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"{host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host} cannot be resolved: {error}") from error
        for address in addresses[:-1]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
