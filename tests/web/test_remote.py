"""Passing requests on: what goes over, what stays, and what comes back when the other side does not work."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from astrarium.config import RemoteNode
from astrarium.errors import Upstream
from astrarium.web.app import create_app
from astrarium.web.problems import Shapes
from astrarium.web.remote import Remote, sign_in

pytestmark = pytest.mark.net

BIG = b"x" * 3_000_000


class Node(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, except for a few paths."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, Any]]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = {"method": self.command, "path": self.path, "headers": headers, "body": body.decode()}
        self.seen.append(asked)
        status, answer, more = 200, json.dumps(asked).encode(), {"Content-Type": "application/json"}
        if "/teapot" in self.path:
            status, answer = 418, b'{"code":"not_found"}'
        elif "/moved" in self.path:
            status, more = 302, {"Location": "http://192.0.2.1/"}
        elif "/big" in self.path:
            answer, more = BIG, {"Content-Type": "text/plain", "Set-Cookie": "a=b", "X-Inner": "secret", "Server": "inner"}
        self.send_response(status)
        for name, value in {**more, "Content-Length": str(len(answer)), "Connection": "keep-alive"}.items():
            self.send_header(name, value)
        self.end_headers()
        if "/cut" in self.path:
            answer = answer[:10]
            self.close_connection = True
        self.wfile.write(answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def node() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    seen: list[dict[str, Any]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Seen", (Node,), {"seen": seen}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def client_of(**nodes: RemoteNode) -> Iterator[TestClient]:
    """A client of an application that passes everything on to the node its query names."""
    remote = Remote(nodes, "/api/v2")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await remote.close()

    app = create_app(version="1", shapes=Shapes(), body_max_bytes=1000, lifespan=lifespan)

    async def act(request: Request) -> Response:
        return await remote.pass_on(request, request.query_params["remoteNode"], "remoteNode")

    app.add_route("/api/v2/{rest:path}", act, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def test_what_goes_over(node: tuple[str, list[dict[str, Any]]]) -> None:
    url, seen = node
    given = {"Authorization": "Bearer mine", "Cookie": "session=mine", "X-API-Key": "mine", "X-Forwarded-For": "1"}
    path = "/api/v2/dags/a%2Fb%20c/start?remoteNode=east&x=1&x=2&y=%26"
    with client_of(east=RemoteNode(url=url + "/base/api/v2/", token="t0ken")) as client:
        assert client.post(path, json={"params": "A"}, headers=given).status_code == 200
    (asked,) = seen
    assert asked["method"] == "POST"
    assert asked["path"] == "/base/api/v2/dags/a%2Fb%20c/start?x=1&x=2&y=%26"
    assert json.loads(asked["body"]) == {"params": "A"}
    assert asked["headers"]["authorization"] == "Bearer t0ken"
    assert asked["headers"]["content-type"] == "application/json"
    assert asked["headers"]["host"] == url.removeprefix("http://")
    assert not {"cookie", "x-api-key", "x-forwarded-for"} & asked["headers"].keys()
    assert "mine" not in json.dumps(asked)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_every_method_goes_over(node: tuple[str, list[dict[str, Any]]], method: str) -> None:
    url, seen = node
    with client_of(east=RemoteNode(url=url)) as client:
        assert client.request(method, "/api/v2/dags?remoteNode=east").status_code == 200
    assert [(asked["method"], asked["path"]) for asked in seen] == [(method, "/dags")]
    assert "authorization" not in seen[0]["headers"]


def test_what_comes_back(node: tuple[str, list[dict[str, Any]]]) -> None:
    with client_of(east=RemoteNode(url=node[0], username="anna", password="pä:ss")) as client:
        answer = client.get("/api/v2/big?remoteNode=east")
        teapot = client.get("/api/v2/teapot?remoteNode=east")
    assert answer.content == BIG
    assert answer.headers["content-type"] == "text/plain"
    assert not {"set-cookie", "x-inner", "server"} & set(answer.headers)
    assert (teapot.status_code, teapot.json()) == (418, {"code": "not_found"})
    assert node[1][0]["headers"]["authorization"] == "Basic YW5uYTpww6Q6c3M="


def test_a_node_nobody_named_is_refused() -> None:
    with client_of(east=RemoteNode(url="http://127.0.0.1:1")) as client:
        answer = client.get("/api/v2/dags?remoteNode=west")
    assert (answer.status_code, answer.json()) == (400, {"detail": "there is no remote node 'west'"})


def test_a_node_that_is_away_is_told_without_its_address() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with client_of(east=RemoteNode(url=url, token="s3cret")) as client:
            answer = client.get("/api/v2/dags?remoteNode=east")
    assert answer.status_code == 502
    assert "'east' cannot be reached" in answer.text
    assert "s3cret" not in answer.text


def test_a_redirect_is_not_followed(node: tuple[str, list[dict[str, Any]]]) -> None:
    with client_of(east=RemoteNode(url=node[0])) as client:
        answer = client.get("/api/v2/moved?remoteNode=east", follow_redirects=False)
    assert answer.status_code == 502
    assert "redirect" in answer.text
    assert "192.0.2.1" not in answer.text


@pytest.mark.parametrize("path", ["dags/%2e%2e/users", "dags/%2E./users", "%2e/dags"])
def test_a_path_that_would_leave_the_api_is_refused(node: tuple[str, list[dict[str, Any]]], path: str) -> None:
    url, seen = node
    with client_of(east=RemoteNode(url=url)) as client:
        assert client.get(f"/api/v2/{path}?remoteNode=east").status_code == 400
    assert seen == []


def test_an_answer_that_breaks_off_is_seen_to_be_broken(node: tuple[str, list[dict[str, Any]]]) -> None:
    with client_of(east=RemoteNode(url=node[0])) as client, pytest.raises(httpx2.RemoteProtocolError):
        client.get("/api/v2/cut?remoteNode=east")


def test_how_a_node_is_signed_in_to() -> None:
    assert sign_in(RemoteNode(url="http://a")) == {}
    assert sign_in(RemoteNode(url="http://a", token="t", username="u")) == {"authorization": "Bearer t"}
    assert sign_in(RemoteNode(url="http://a", username="u", password="p")) == {"authorization": "Basic dTpw"}


def test_the_codes_are_those_of_the_contract() -> None:
    assert Upstream("x", code="remote_node_error").status == 502
    assert Upstream("x").code == "bad_gateway"
