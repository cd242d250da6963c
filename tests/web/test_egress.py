"""What the server itself may call."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from astrarium.errors import Forbidden, Invalid
from astrarium.web.egress import Egress, is_outside, parse_allowed


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_the_internet_is_outside(address: str) -> None:
    assert is_outside(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_what_lies_inside_is_not(address: str) -> None:
    assert not is_outside(ipaddress.ip_address(address))
    with pytest.raises(Forbidden, match="not called"):
        Egress().check("host.example", 80, [address])


def test_exceptions_by_name_network_and_port() -> None:
    egress = Egress("hooks.internal:8443, 10.1.0.0/16, 192.168.1.7:80, [fd00::1]:90, Other.Example.")
    assert egress.check("hooks.internal", 8443, ["10.9.9.9"]) == ["10.9.9.9"]
    assert egress.check("any", 1, ["10.1.2.3", "127.0.0.1"]) == ["10.1.2.3"], "only what may be called is left"
    for host, port, address in (("any", 80, "192.168.1.7"), ("any", 90, "fd00::1"), ("other.example", 5, "::1")):
        assert egress.check(host, port, [address])
    for host, port, address in (("hooks.internal", 80, "10.9.9.9"), ("any", 81, "192.168.1.7"), ("evil", 8443, "10.9.9.9")):
        with pytest.raises(Forbidden):
            egress.check(host, port, [address])


@pytest.mark.parametrize("text", ["http://x", "a b", "*.x", "x:99999999", "user@x"])
def test_a_wrong_exception_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="egress_allow"):
        parse_allowed(text)


class Moving(BaseHTTPRequestHandler):
    to = ""

    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/moved" else 200)
        if self.path == "/moved":
            self.send_header("location", Moving.to)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Moving)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Every name has these addresses, one more each time it is asked for; what was asked."""
    asked: list[str] = []

    async def resolve(host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        address = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    return asked


@pytest.mark.net
async def test_a_checked_address_is_the_one_that_is_called(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    async with Egress(f"good.example:{port}").open_client(5) as client:
        answer = await client.get(f"http://good.example:{port}/")
    assert (answer.status_code, answer.request.headers["host"], asked) == (200, f"good.example:{port}", ["good.example"])


@pytest.mark.net
async def test_a_name_that_leads_inside_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    async with Egress().open_client(5) as client:
        with pytest.raises(Forbidden, match=r"evil\.example"):
            await client.get(f"http://evil.example:{port}/")
        with pytest.raises(Forbidden):
            await client.get("http://169.254.169.254/latest/meta-data")


@pytest.mark.net
async def test_each_hop_of_a_redirect_is_checked(port: int) -> None:
    Moving.to = f"http://127.0.0.2:{port}/"
    async with Egress("127.0.0.1").open_client(5, follow_redirects=True) as client:
        with pytest.raises(Forbidden, match=r"127\.0\.0\.2"):
            await client.get(f"http://127.0.0.1:{port}/moved")


@pytest.mark.net
async def test_a_proxy_of_the_environment_is_no_way_round(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    async with Egress().open_client(5) as client:
        with pytest.raises(Forbidden):
            await client.get("http://127.0.0.9/")


@pytest.mark.net
async def test_an_unknown_name_is_an_ordinary_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int, **_: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    async with Egress().open_client(5) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("http://nobody.example/")
