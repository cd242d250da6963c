"""The profile `cleared`: what it refuses to start without, whom it answers, and that it records every request it lets in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.specs.access.test_sign_in import DEADLINE_S, Server, command
from tests.specs.guard.test_guard import audit, root

pytestmark = [pytest.mark.all, pytest.mark.net]
PASSWORD = "correct-horse-battery"
CLEARED = {"ASTRARIUM_ADMIN_PASSWORD": PASSWORD, "ASTRARIUM_TRUSTED_PROXIES": "127.0.0.1"}
BY_PROXY = {"x-forwarded-proto": "https", "x-forwarded-for": "198.51.100.7"}
Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Server] = []

    def started(*words: str, **env: str) -> Server:
        made.append(Server(tmp_path / "data", *words, **env))
        return made[-1]

    yield started
    for server in made:
        server.stop()


@pytest.mark.parametrize(("words", "env", "told"), [
    ((), {}, "no request may be answered without a sign-in"),
    (("--auth", "builtin"), {}, "without TLS"),
    (("--auth", "builtin"), CLEARED | {"ASTRARIUM_AUTH_TOKEN": "t" * 20}, "without being somebody"),
    (("--auth", "builtin"), CLEARED | {"ASTRARIUM_METRICS": "public"}, "open to everybody"),
    (("--auth", "builtin"), CLEARED | {"ASTRARIUM_TRUSTED_PROXIES": "my-proxy"}, "trusted_proxies"),
])  # fmt: skip
def test_it_does_not_start_without_what_it_pins(tmp_path: Path, words: tuple[str, ...], env: dict[str, str], told: str) -> None:
    refused = command(tmp_path / "data", "server", "--port", "0", "--profile", "cleared", *words, **env)
    assert refused.returncode == 2 and told in refused.stderr, refused.stderr
    assert not (tmp_path / "data" / "astrarium.db").exists()


def test_a_profile_nobody_knows(tmp_path: Path) -> None:
    refused = command(tmp_path / "data", "server", "--port", "0", "--profile", "secret")
    assert refused.returncode == 2 and "must be one of default, cleared" in refused.stderr


def test_it_answers_over_tls_only_and_records_whom_it_lets_in(tmp_path: Path, start: Start) -> None:
    server = start("--auth", "builtin", "--profile", "cleared", **CLEARED)
    token = server.login("admin", PASSWORD)  # from this machine itself: no network was crossed
    signed = {"authorization": f"Bearer {token}"}

    def ask(path: str, **headers: str) -> Any:
        return httpx2.get(root(server) + path, headers=signed | headers)

    plain = ask("/api/v2/dags", **(BY_PROXY | {"x-forwarded-proto": "http"}))
    assert plain.status_code == 403 and "TLS" in plain.text
    assert ask("/api/v2/dags", **{"x-forwarded-for": "198.51.100.7"}).status_code == 403
    assert ask("/api/v2/dags", **BY_PROXY, **{"x-request-id": "seen"}).status_code == 200
    assert ask("/api/v2/dags/none", **BY_PROXY).status_code == 404
    end = time.monotonic() + DEADLINE_S
    while len(found := audit(server, token, act="auth.allowed", subject="operation:getDAGDetails").json()["items"]) < 1:
        assert time.monotonic() < end, "nothing was recorded"
        time.sleep(0.05)
    assert found[0]["detail"] == {**found[0]["detail"], "capability": "dags:read", "method": "GET", "status": 404,
                                  "route": "/api/v2/dags/none"}  # fmt: skip
    assert audit(server, token, subject="operation:listDAGs").json()["items"][0]["detail"]["request_id"] == "seen"
    server.stop()
    told = command(tmp_path / "data", "audit", "list", "--act", "auth.allowed").stdout
    assert "operation:listAudit" in told, "what was let in last is recorded when the server stops"
    assert command(tmp_path / "data", "audit", "verify").returncode == 0


def test_without_a_trusted_proxy_nobody_is_believed_about_addresses(start: Start) -> None:
    server = start("--auth", "builtin", ASTRARIUM_RATE_LIMIT="standard", ASTRARIUM_ADMIN_PASSWORD=PASSWORD)
    guess = {"authorization": "Bearer guess"}
    asked = [guess | {"x-forwarded-for": f"198.51.100.{number}"} for number in range(70)]
    statuses = {httpx2.get(root(server) + "/api/v2/dags", headers=headers).status_code for headers in asked}
    assert statuses == {401, 429}, "a stranger counts by the address the connection comes from"
