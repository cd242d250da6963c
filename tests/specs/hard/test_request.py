"""Hostile requests: names, paths, bodies, and clients that are slow or many."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.specs.cli.room import until

pytestmark = pytest.mark.net

NAMES = (
    "../../etc/passwd", "..", "/etc/passwd", "..\\..\\x", "\0", "a\0b", ".hidden", "~root", "-rf", "$(touch x)", "`id`", "a b",
    "a\nb", "%", "%2e%2e%2f", '"', "'", "<script>", "💩", "n" * 3000, "; rm -rf /", "x;y", "x?y", "x#y", "a/../b", "a.yaml/",
)  # fmt: skip
RAW = ("..%2f..%2fserver.json", "%2e%2e%2fserver.json", "%ff%fe", "%ed%a0%80", "..%5cserver.json", "%2e%2e", "%252e%252e%252f")
PATHS = (
    ("GET", "/dags/{}"), ("GET", "/dags/{}/spec"), ("DELETE", "/dags/{}"), ("POST", "/dags/{}/start"), ("PUT", "/dags/{}/spec"),
    ("GET", "/dags/{}/dag-runs"), ("GET", "/dags/good/dag-runs/{}"), ("GET", "/dag-runs/{}/x"), ("GET", "/dag-runs/x/{}"),
    ("GET", "/dag-runs/good/{}/log"), ("GET", "/dag-runs/good/one/steps/{}/log"), ("PATCH", "/dag-runs/good/one/steps/{}/status"),
    ("POST", "/dag-runs/good/one/steps/{}/approve"), ("GET", "/dag-runs/good/one/sub-dag-runs/{}"),
    ("GET", "/dag-runs/good/one/sub-dag-runs/{}/steps/a/log"), ("POST", "/dag-runs/good/{}/stop"), ("POST", "/dag-runs/{}/one/retry"),
)  # fmt: skip
BODIES = {"POST": {}, "PUT": {"spec": "steps: [echo]"}, "PATCH": {"status": 4}}


@pytest.fixture(scope="module", autouse=True)
def _run(server: Any) -> None:
    server.add("good.yaml", "steps:\n  - name: a\n    command: echo good\n")
    (server.room.dags.parent / "secret.yaml").write_text("steps: [echo outside]\n")
    answer = server.call("POST", "/dags/good/start", {"dagRunId": "one"})
    assert answer.status_code == 200
    server.ended("one", "good")


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_no_name_leads_outside(server: Any, method: str, path: str) -> None:
    for name in [*(quote(name, safe="").replace(".", "%2E") for name in NAMES), *RAW, "..%2fsecret", "%2e%2e%2fsecret.yaml"]:
        answer = server.client.request(method, path.format(name), json=BODIES.get(method))
        assert answer.status_code in (400, 404, 405), (name, answer.status_code, answer.text[:300])
        assert "outside" not in answer.text
        assert server.token not in answer.text
    assert (server.room.dags / "good.yaml").exists()


def test_no_name_makes_a_file_outside(server: Any) -> None:
    before = sorted(path for path in server.room.folder.rglob("*") if path.suffix in (".yaml", ".yml"))
    for name in NAMES:
        server.refused(server.call("POST", "/dags", {"name": name}), 400)
        server.refused(server.call("POST", "/dag-runs", {"name": name, "spec": "steps: [echo]"}), 400)
        server.refused(server.call("POST", "/dags/good/start", {"dagName": name}), 400)
        if "/" in name or len(name) > 100 or not name.isprintable():
            server.refused(server.call("POST", "/dags/good/start", {"dagRunId": name}), 400)
    assert sorted(path for path in server.room.folder.rglob("*") if path.suffix in (".yaml", ".yml")) == before


def test_a_call_of_what_is_no_dag_tells_nothing_of_it(server: Any) -> None:
    outside = server.room.folder / "private.txt"
    outside.write_text("password: hunter-2\n")
    for name in ("../../private.txt", str(outside), "/etc/passwd", "/dev/zero", "\u202e", "x/" * 2000):
        answer = server.call("POST", "/dag-runs", {"name": "x", "spec": f"steps:\n  - call: '{name}'\n"})
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 200:
            found = server.ended(answer.json()["dagRunId"], "x")
            assert found["status"] == 2, name
            assert "hunter-2" not in json.dumps(found)


MALFORMED = (
    b"{", b"[]", b"null", b"1", b'"x"', b"[" * 100_000, b'{"spec":' * 100_000, b'{"z":' + b"[" * 50_000 + b"]" * 50_000 + b"}", b"\xff\xfe",
    b'{"spec": NaN}', b'{"spec": "\\ud800"}', b'{"spec": 1}', b'{"spec": null}', b'{"spec": ["steps"]}', b'{"spec": "a"}{', b"\0", b"spec=x",  # noqa: E501
    b'{"spec": "steps: [echo]", "name": 7}', b'{"spec": "steps: [echo]", "name": "x", "singleton": "yes"}',
    b'{"spec": "steps: [echo]", "name": "x", "params": {"A": 1}}', b'{"spec": "steps: [echo]", "name": "x", "dagRunId": false}',
)  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_body_is_told_what_is_wrong(server: Any, body: bytes) -> None:
    server.refused(server.client.post("/dag-runs", content=body), 400)


@pytest.mark.parametrize(
    "path", ["/dags/good/start", "/dag-runs/good/one/retry", "/dag-runs/good/one/steps/a/status", "/dags/good/spec"]
)
@pytest.mark.parametrize("body", [b"[]", b'{"dagRunId": 1, "status": "x", "spec": {}}', b"{" * 200_000, b'{"x":' * 50_000])
def test_wrong_types_everywhere(server: Any, path: str, body: bytes) -> None:
    method = {"status": "PATCH", "spec": "PUT"}.get(path.rpartition("/")[2], "POST")
    server.refused(server.client.request(method, path, content=body), 400)


def test_a_huge_body_is_refused_unread(server: Any) -> None:
    told = server.refused(server.client.post("/dag-runs", content=b"x" * (9 << 20)), 413)
    assert "body_max_bytes" in told["message"]

    def endless() -> Any:
        for _ in range(200):
            yield b"x" * 65536

    server.refused(server.client.post("/dag-runs", content=endless()), 413)
    before = server.memory_mib()
    with socket.create_connection(urlsplit(server.url).netloc.split(":")) as wire:
        wire.sendall(b"POST /api/v2/dags HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n")
        assert b" 413 " in wire.recv(100)
    assert server.memory_mib() < before + 50


@pytest.mark.parametrize(
    "query", ["status=x", "status=99", "fromDate=-1", "toDate=1e9", "fromDate=99999999999999999999", "remoteNode=%00"]
)
def test_bad_queries(server: Any, query: str) -> None:
    told = server.refused(server.client.get(f"/dag-runs?{query}"), 400)
    assert told["details"]["problems"][0]["path"] == query.partition("=")[0]


@pytest.mark.parametrize(
    "query", ["tail=0", "head=-1", "offset=x", "limit=10001", "stream=out", "tail=99999999999999999999", "tail=%00"]
)
def test_bad_windows_of_a_log(server: Any, query: str) -> None:
    server.refused(server.client.get(f"/dag-runs/good/one/steps/a/log?{query}"), 400)


@pytest.mark.parametrize("query", ["name=%25", "name=%00", "dagRunId=_", "name='; DROP TABLE runs; --", "dagRunId=" + "a" * 5000])
def test_a_filter_is_a_text_and_no_pattern(server: Any, query: str) -> None:
    assert server.client.get(f"/dag-runs?{query}").json() in ({"dagRuns": []}, server.get("/dag-runs", name=""))


def exchange(server: Any, sent: bytes) -> bytes:
    """One raw exchange, read to its end or until the server is silent."""
    host, port = urlsplit(server.url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(sent)
        wire.shutdown(socket.SHUT_WR)
        found = b""
        while part := wire.recv(65536):
            found += part
        return found


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",  # noqa: E501
     b"POST /api/v2/dags HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
     b"POST /api/v2/dags HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
     b"GET /api/v2/health HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n"],
    ids=["tls", "version", "short", "long", "two lengths", "bad chunk", "many headers"],
)  # fmt: skip
def test_what_is_no_http_hurts_nobody(server: Any, sent: bytes) -> None:
    try:
        answer = exchange(server, sent)
    except OSError:
        answer = b""  # the connection was cut, which is an answer too
    assert b" 500 " not in answer.split(b"\r\n")[0]
    assert server.get("/health")["status"] == "healthy"


def test_slow_and_silent_clients_hold_nobody_up(server: Any) -> None:
    host, port = urlsplit(server.url).netloc.split(":")
    wires = [socket.create_connection((host, int(port)), timeout=10) for _ in range(200)]
    try:
        for number, wire in enumerate(wires):
            head = b"POST /api/v2/dag-runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
            wire.sendall((b"", head[:20], head)[number % 3])
        assert server.done("steps: [{type: noop}]")["status"] == 4
    finally:
        for wire in wires:
            wire.close()
    assert server.get("/health")["status"] == "healthy"


def test_a_client_that_reads_slowly_costs_no_memory(server: Any) -> None:
    server.add("much.yaml", "steps:\n  - name: much\n    command: yes 0123456789abcdef0123456789abcdef | head -c 7000000\n")
    run = server.call("POST", "/dags/much/start", {}).json()["dagRunId"]
    assert server.ended(run, "much")["status"] == 4
    host, port = urlsplit(server.url).netloc.split(":")
    path = f"/api/v2/dag-runs/much/{run}/steps/much/log?limit=10000"
    wires = []
    try:
        for _ in range(20):
            wires.append(socket.create_connection((host, int(port)), timeout=10))
            wires[-1].sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert server.get("/health")["status"] == "healthy"
        assert server.done("steps: [{type: noop}]")["status"] == 4
    finally:
        for wire in wires:
            wire.close()


def test_three_hundred_starts_at_once(server: Any) -> None:
    server.add("quick.yaml", "maxActiveRuns: -1\nsteps:\n  - type: noop\n")

    def start(number: int) -> tuple[int, str]:
        answer = server.call("POST", "/dags/quick/start", {"dagRunId": f"r{number % 150}"})
        return answer.status_code, answer.json().get("dagRunId", "")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(start, range(300)))
    assert sorted(code for code, _ in answers) == [200] * 150 + [409] * 150, "each id once"
    assert {run for code, run in answers if code == 200} == {f"r{number}" for number in range(150)}
    runs = until(
        lambda: (found := server.get("/dag-runs/quick")["dagRuns"]) and all(run["status"] == 4 for run in found) and found,
        "all ends",
    )
    assert len({run["dagRunId"] for run in runs}) == len(runs)
