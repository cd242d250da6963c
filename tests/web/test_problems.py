"""Whatever a request ends with, its answer has the shape of the surface that owns the path."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fastapi import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.testclient import TestClient

from astrarium.errors import Bug, Invalid, NotFound, Problem, Refused, Unavailable
from astrarium.web.app import create_app
from astrarium.web.problems import Fault, Shapes, plain_shape


def _shape(fault: Fault) -> tuple[int, Any]:
    status = 422 if fault.problems else fault.status
    return status, {"code": fault.code, "message": fault.message, "routed": fault.routed, "id": fault.error_id}


class _Body(msgspec.Struct):
    count: int


RAISED: dict[str, Exception] = {
    "refused": Refused("it runs already", code="already_running", hint="stop it"),
    "missing": NotFound("no DAG `x`"),
    "invalid": Invalid("wrong", [Problem("no name", path="name")]),
    "down": Unavailable("the store is away"),
    "bug": Bug("a secret detail"),
    "surprise": RuntimeError("a secret detail"),
}


@pytest.fixture
def client() -> Iterator[TestClient]:
    shapes = Shapes()
    shapes.register("/api/things", _shape)
    app = create_app(version="1", shapes=shapes, body_max_bytes=1000)

    async def fail(request: Request) -> JSONResponse:
        raise RAISED[request.path_params["what"]]

    @app.get("/api/things/count")
    async def count(number: int) -> int:
        return number

    @app.post("/api/things/decode")
    async def decode(request: Request) -> int:
        return msgspec.json.decode(await request.body(), type=_Body).count

    @app.get("/api/things/stream")
    async def stream() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"begun"
            raise RuntimeError("in the middle")

        return StreamingResponse(parts())

    app.add_route("/api/things/fail/{what}", fail, methods=["GET"])
    app.add_route("/plain/fail/{what}", fail, methods=["GET"])
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(("what", "status", "code"), [
    ("refused", 409, "already_running"), ("missing", 404, "not_found"),
    ("invalid", 422, "bad_request"), ("down", 503, "unavailable"),
])  # fmt: skip
def test_our_errors_take_the_owners_shape(client: TestClient, what: str, status: int, code: str) -> None:
    answer = client.get(f"/api/things/fail/{what}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"] == str(RAISED[what])
    assert answer.json()["routed"] is True


@pytest.mark.parametrize("what", ["bug", "surprise"])
def test_a_surprise_gets_an_id_and_its_traceback_only_the_log(
    client: TestClient, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "astrarium.web"):
        answer = client.get(f"/api/things/fail/{what}")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "secret" not in answer.text
    assert answer.json()["id"] in caplog.text
    assert "a secret detail" in caplog.text
    assert answer.headers["x-request-id"]


def test_an_unknown_path_or_method_takes_the_owners_shape(client: TestClient) -> None:
    unknown = client.get("/api/things/nowhere/at/all")
    assert (unknown.status_code, unknown.json()["code"], unknown.json()["routed"]) == (404, "not_found", False)
    method = client.delete("/api/things/count")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert method.headers["allow"] == "GET"


def test_without_an_owner_it_is_plain(client: TestClient) -> None:
    for path in ("/", "/nothing", "/api/thingsandmore", "/api"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert client.get("/plain/fail/missing").json() == {"detail": "no DAG `x`"}
    assert set(client.get("/plain/fail/bug").json()) == {"detail", "error_id"}


def test_a_wrong_parameter_names_its_place(client: TestClient) -> None:
    answer = client.get("/api/things/count", params={"number": "many"})
    assert answer.status_code == 422
    assert "number" in answer.json()["message"]


@pytest.mark.parametrize("body", [b'{"count": "x"}', b"{", b"\xff", b"{}"])
def test_a_wrong_body_is_the_clients_fault(client: TestClient, body: bytes) -> None:
    assert client.post("/api/things/decode", content=body).status_code == 422


def test_a_too_large_body_takes_the_owners_shape(client: TestClient) -> None:
    answer = client.post("/api/things/decode", content=b"x" * 1001)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_much")


def test_an_answer_that_broke_off_is_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "astrarium.web"):
        client.get("/api/things/stream")
    assert "in the middle" in caplog.text


def test_the_longest_prefix_owns_and_has_one_owner() -> None:
    shapes = Shapes()
    shapes.register("/api", plain_shape)
    shapes.register("/api/things/", _shape)
    assert shapes.shaper("/api/things/x") is _shape
    assert shapes.shaper("/api/other") is plain_shape
    for prefix in ("/api/things", "api", "/"):
        with pytest.raises(ValueError, match=r"owner|slash"):
            shapes.register(prefix, _shape)
