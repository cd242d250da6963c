"""A real server guards itself: limits, errors that keep their secrets, slow clients, pages of other origins, and the log of it all."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.specs.access.test_sign_in import DEADLINE_S, Server, command

pytestmark = pytest.mark.net
Start = Callable[..., Server]
PASSWORD, OTHER_PASSWORD, TOKEN = "correct-horse-battery", "another-horse-battery", "a-static-token-of-the-settings"
RATE = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Server] = []

    def started(*words: str, **env: str) -> Server:
        made.append(Server(tmp_path / "data", *words, **env))
        return made[-1]

    yield started
    for server in made:
        server.stop()


def root(server: Server) -> str:
    return str(server.client.base_url).removesuffix("/api/v2/").removesuffix("/api/v2")


def audit(server: Server, token: str = "", **query: str) -> Any:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx2.get(root(server) + "/api/v1/audit", params=query, headers=headers)


# -- the log -----------------------------------------------------------------------------------------------------------


def test_the_log_has_every_act_and_no_secret(tmp_path: Path, start: Start) -> None:
    server = start("--auth", "builtin", ASTRARIUM_ADMIN_PASSWORD=PASSWORD, ASTRARIUM_AUTH_TOKEN=TOKEN)
    secrets = [PASSWORD, OTHER_PASSWORD, TOKEN]
    token = server.login("admin", PASSWORD)
    assert server.call("POST", "/auth/login", {"username": "admin", "password": "wrong-horse-1"}).status_code == 401
    user = server.call("POST", "/users", {"username": "bob", "password": "wrong-horse-2", "role": "viewer"}, token).json()["user"]
    made = server.call("POST", "/api-keys", {"name": "ci", "role": "operator"}, token).json()
    hook = server.call("POST", "/dags/hello/webhook", {}, token).json()
    text = "steps:\n  - name: a\n    command: echo secret-of-a-dag\n"
    assert server.call("PUT", "/dags/hello.yaml/spec", {"spec": text}, token).status_code == 200
    bob = server.login("bob", "wrong-horse-2")
    assert server.call("GET", "/users", token=bob).status_code == 403
    assert server.call("POST", f"/users/{user['id']}/reset-password", {"newPassword": "wrong-horse-3"}, token).status_code == 200
    assert server.call("DELETE", f"/users/{user['id']}", token=token).status_code == 204
    assert server.call("DELETE", f"/api-keys/{made['apiKey']['id']}", token=TOKEN).status_code == 204
    assert server.call("POST", "/dags/hello/webhook/regenerate", {}, token).status_code == 200
    changed = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
    assert server.call("POST", "/auth/change-password", changed, token).status_code == 200
    secrets += [token, bob, made["key"], hook["token"], "wrong-horse", "secret-of-a-dag"]
    exported = httpx2.get(root(server) + "/api/v1/audit/export", headers={"authorization": f"Bearer {TOKEN}"})
    assert exported.status_code == 200 and exported.headers["content-type"].startswith("text/plain")
    for secret in secrets:
        assert secret not in exported.text
    acts = [json.loads(line)["act"] for line in exported.text.splitlines()]
    wanted = {"auth.signed_in", "auth.sign_in_failed", "auth.denied", "user.created", "user.deleted", "api.updateDAGSpec"}
    assert wanted <= set(acts), acts
    for folder in ("astrarium.db", "server.log"):
        kept = (tmp_path / "data" / folder if folder.endswith("db") else tmp_path / folder).read_bytes()
        assert b"wrong-horse" not in kept
    verified = command(tmp_path / "data", "audit", "verify")
    assert verified.returncode == 0, verified.stdout
    path = tmp_path / "export.jsonl"
    path.write_text(exported.text)
    assert command(tmp_path / "data", "audit", "verify", str(path)).returncode == 0
    path.write_text(exported.text.replace("user.created", "user.createe", 1))
    assert command(tmp_path / "data", "audit", "verify", str(path)).returncode == 1


def test_the_log_over_http(start: Start) -> None:
    server = start("--auth", "builtin", ASTRARIUM_ADMIN_PASSWORD=PASSWORD)
    token = server.login("admin", PASSWORD)
    server.call("POST", "/users", {"username": "bob", "password": OTHER_PASSWORD, "role": "manager"}, token)
    bob = server.login("bob", OTHER_PASSWORD)
    for path in ("/audit", "/audit/export"):
        address = root(server) + "/api/v1" + path
        assert httpx2.get(address).status_code == 401
        refused = httpx2.get(address, headers={"authorization": f"Bearer {bob}"})
        assert refused.status_code == 403 and "audit:read" in refused.json()["detail"]
    denied = audit(server, token, act="auth.denied").json()["items"]
    assert [one["subject"] for one in denied] == ["operation:exportAudit", "operation:listAudit"]
    assert denied[0]["actor"].startswith("user:") and denied[0]["detail"]["needs"] == "audit:read"
    whole = audit(server, token).json()["items"]
    pages, before = [], ""
    while True:
        page = audit(server, token, limit="2", **({"before": before} if before else {})).json()
        pages += page["items"]
        if page["next"] is None:
            break
        before = str(page["next"])
    assert pages == whole
    since = whole[1]["at"]
    assert [one["number"] for one in audit(server, token, since=since).json()["items"]] == [one["number"] for one in whole[:2]]
    for query in ({"since": "2030-01-01"}, {"before": "x"}, {"limit": "0"}, {"limit": "100000"}, {"until": "soon"}):
        refused = audit(server, token, **query)
        assert refused.status_code == 400 and next(iter(query)) in refused.json()["detail"]


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_server_that_refuses_says_how_much_is_left(start: Start) -> None:
    server = start(ASTRARIUM_RATE_LIMIT_BURST="3", RATELIMIT_REQUESTS="6", RATELIMIT_WINDOW_SECONDS="86400")
    answers = [server.call("GET", "/dags") for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert [one.headers["x-ratelimit-remaining"] for one in answers] == ["5", "4", "3", "3"]
    assert {one.headers["x-ratelimit-limit"] for one in answers} == {"6"}
    refused = answers[-1]
    assert 1 <= int(refused.headers["retry-after"]) <= 86400 / 6
    assert refused.json()["details"]["limit"] == "burst" and refused.json()["details"]["reason"] == "rate_limited"
    other = httpx2.get(root(server) + "/api/v1/audit")
    assert other.status_code == 429 and list(other.json()) == ["detail"], "in the words of its surface"
    for _ in range(5):
        healthy = server.call("GET", "/health")
        assert healthy.status_code == 200 and not set(RATE) & set(healthy.headers), "nobody calls there, nobody is counted"


def test_strangers_are_slowed_down_and_callers_are_not(start: Start) -> None:
    server = start(ASTRARIUM_RATE_LIMIT="premium", ASTRARIUM_AUTH_TOKEN=TOKEN)
    statuses = {server.call("GET", "/dags", token="guess").status_code for _ in range(121)}
    assert statuses == {401, 429}
    answer = server.call("GET", "/dags", token=TOKEN)
    assert answer.status_code == 200 and answer.headers["x-ratelimit-limit"] == "5000"


def test_on_loopback_nobody_is_refused_by_default(start: Start) -> None:
    server = start()
    answers = [server.call("GET", "/dags") for _ in range(120)]
    assert {one.status_code for one in answers} == {200}
    assert not set(RATE) & set(answers[0].headers)


@pytest.mark.postgres
def test_servers_on_one_database_count_together(tmp_path: Path, postgres_database: str) -> None:
    env = {f"ASTRARIUM_RATE_LIMIT_{name}": "10000" for name in ("REQUESTS", "BURST")} | {"ASTRARIUM_RATE_LIMIT_WINDOW_S": "86400"}
    with contextlib.ExitStack() as stack:
        servers = []
        for name in ("one", "two"):
            server = Server(tmp_path / name / "data", "--database-url", postgres_database, **env)
            stack.callback(server.stop)
            servers.append(server)
        one, other = servers
        for _ in range(20):
            assert one.call("GET", "/dags").status_code == 200

        asked, deadline = 0, time.monotonic() + DEADLINE_S
        while True:
            asked += 1
            answer = other.call("GET", "/dags")
            if int(answer.headers["x-ratelimit-remaining"]) <= 10_000 - 20 - asked:
                break
            assert time.monotonic() < deadline, "it never heard of the other"
            time.sleep(0.05)


# -- clients -----------------------------------------------------------------------------------------------------------


def test_a_body_that_does_not_come_is_given_up(start: Start) -> None:
    server = start(ASTRARIUM_BODY_TIMEOUT_S="0.1")
    address = httpx2.URL(root(server))
    for head in (b"Content-Length: 10", b"Transfer-Encoding: chunked"):
        with socket.create_connection((address.host, address.port), 30) as client:
            client.sendall(b"POST /api/v2/dags/hello/start HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n")
            said = b"".join(iter(lambda: client.recv(65536), b""))
        assert said.startswith(b"HTTP/1.1 408 ") and b"body_timeout_s" in said
    assert server.call("POST", "/dags/hello/start", {"dagRunId": "r"}).status_code == 200


def test_pages_of_named_origins_may_call(start: Start) -> None:
    server = start(ASTRARIUM_CORS_ORIGINS="https://tools.example, http://localhost:3000")
    asked = {
        "origin": "https://tools.example",
        "access-control-request-method": "PUT",
        "access-control-request-headers": "x-api-key",
    }
    preflight = server.call("OPTIONS", "/dags", **asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://tools.example"
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert "x-api-key" in preflight.headers["access-control-allow-headers"]
    for path, status in (("/dags", 200), ("/dags/none", 404)):
        answer = server.call("GET", path, origin="https://tools.example")
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "https://tools.example"
        assert "X-RateLimit-Remaining" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
    strange = server.call("GET", "/dags", origin="https://evil.example")
    assert strange.status_code == 403 and "access-control-allow-origin" not in strange.headers


def test_by_default_no_page_of_another_origin_may_call(start: Start) -> None:
    server = start()
    answer = server.call("GET", "/dags", origin="https://tools.example")
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(("value", "told"), [
    ("*", "any web page could run commands"), ("tools.example", "no origin"), ("https://a.example/", "no origin"),
    ("https://a.example,https://*.b.example", "no origin"),
])  # fmt: skip
def test_origins_that_are_none(tmp_path: Path, value: str, told: str) -> None:
    refused = command(tmp_path / "data", "server", ASTRARIUM_CORS_ORIGINS=value)
    assert refused.returncode == 2 and told in refused.stderr and "cors_origins" in refused.stderr.lower()


@pytest.mark.parametrize(
    ("name", "value"), [("RATELIMIT_ENABLED", "maybe"), ("RATELIMIT_REQUESTS", "-1"), ("ASTRARIUM_RATE_LIMIT", "gold")]
)
def test_limits_that_are_none(tmp_path: Path, name: str, value: str) -> None:
    refused = command(tmp_path / "data", "server", **{name: value})
    assert refused.returncode == 2 and name in refused.stderr, refused.stderr
