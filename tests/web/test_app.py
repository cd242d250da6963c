"""Request ids, security headers, the body limit, and which names and origins are answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import Body, FastAPI, Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient

from astrarium.web.app import Application, create_app
from astrarium.web.problems import Shapes


def _app(**options: object) -> FastAPI:
    app = create_app(version="1", shapes=Shapes(), body_max_bytes=100, **options)  # type: ignore[arg-type]

    @app.get("/id")
    async def request_id(request: Request) -> str:
        return str(request.state.request_id)

    @app.post("/echo")
    async def echo(body: dict[str, str] = Body()) -> int:
        return len(body["text"])

    async def raw(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    app.add_route("/raw", raw, methods=["POST"])
    return app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(_app(), base_url="http://127.0.0.1") as client:
        yield client


def test_a_harmless_request_id_is_kept(client: TestClient) -> None:
    answer = client.get("/id", headers={"X-Request-ID": "abc-1"})
    assert answer.json() == "abc-1" == answer.headers["x-request-id"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>"])
def test_any_other_request_id_is_replaced(client: TestClient, given: str) -> None:
    answer = client.get("/id", headers={"X-Request-ID": given})
    assert answer.json() == answer.headers["x-request-id"] != given
    assert len(answer.json()) == 32


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    for path in ("/id", "/missing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-request-id"]


@pytest.mark.parametrize("path", ["/echo", "/raw"])
def test_a_declared_length_above_the_limit_is_refused(client: TestClient, path: str) -> None:
    answer = client.post(path, content=b'{"text": "' + b"x" * 100 + b'"}')
    assert answer.status_code == 413
    assert "100 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/echo", "/raw"])
def test_a_chunked_body_above_the_limit_is_refused(client: TestClient, path: str) -> None:
    chunks = (b'{"text": "', b"x" * 60, b"x" * 60, b'"}')
    answer = client.post(path, content=iter(chunks), headers={"content-type": "application/json"})
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 413


def test_a_body_within_the_limit_passes(client: TestClient) -> None:
    assert client.post("/echo", json={"text": "four"}).json() == 4
    assert client.post("/raw", content=iter([b"x" * 50, b"x" * 50])).text == "100"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080", "127.5.5.5", "dags.example:443"])
def test_loopback_names_and_our_own_are_answered(host: str) -> None:
    with TestClient(_app(hosts=["dags.example"])) as client:
        assert client.get("/id", headers={"host": host, "origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}])
def test_strangers_pages_are_refused(headers: dict[str, str]) -> None:
    with TestClient(_app(hosts=[]), base_url="http://127.0.0.1") as client:
        answer = client.get("/id", headers=headers)
        assert answer.status_code == 403
        assert "refused" in answer.json()["detail"] or "does not answer" in answer.json()["detail"]


@pytest.mark.parametrize("found", [False, True], ids=["by its route", "at once"])
def test_large_answers_are_compressed_on_request(found: bool) -> None:
    app = _app(gzip_min_bytes=1000)

    async def long(request: Request) -> Response:
        return Response("x" * 5000, media_type="text/plain")

    app.add_route("/long", long, methods=["GET"])
    assert isinstance(app, Application)
    app.find = (lambda scope: long if scope["path"] == "/long" else None) if found else None
    with TestClient(app) as client:
        assert client.get("/long", headers={"accept-encoding": "gzip"}).headers["content-encoding"] == "gzip"
        assert client.get("/long", headers={"accept-encoding": "identity"}).headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in client.get("/long", headers={"accept-encoding": "identity"}).headers
