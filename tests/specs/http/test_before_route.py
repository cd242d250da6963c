"""Errors made before a route is found have the shape of the surface that owns the path; the web layer's own where nobody does."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from astrarium.config import Settings
from astrarium.server import create_app, openapi_document
from astrarium.surfaces.builds.problem import PLAN_NOUNS
from astrarium.surfaces.dags.problem import NOUNS, PREFIX

LIMIT = 2048
SHAPE = {"code", "message"}


class Trouble:
    """Stands before the routes and raises what a limit or a defect there would."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if b"x-too-often" in headers:
            raise HTTPException(429, "too many requests", {"Retry-After": "1"})
        if b"x-defect" in headers:
            raise RuntimeError("a defect with a s3cret")
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def client() -> TestClient:
    """No lifespan: nothing here gets as far as a route."""
    app: FastAPI = create_app(Settings(body_max_bytes=LIMIT))
    inner = app.build_middleware_stack

    def stack() -> ASGIApp:
        made: Any = inner()
        layer = made
        while type(layer).__name__ != "BodyLimit":
            layer = layer.app
        layer.app = Trouble(layer.app)
        return made  # type: ignore[no-any-return]

    app.build_middleware_stack = stack  # type: ignore[method-assign]
    return TestClient(app, base_url="http://127.0.0.1")


CASES = {
    404: ("GET", "/a/b/c/d/e/f/g/h", {}, b""),
    405: ("TRACE", "", {}, b""),
    413: ("POST", "", {}, b"x" * (LIMIT + 1)),
    429: ("GET", "", {"x-too-often": "1"}, b""),
    500: ("GET", "", {"x-defect": "1"}, b""),
}


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("status", CASES)
def test_an_error_before_a_route_has_the_shape_of_the_owner(client: TestClient, noun: str, status: int) -> None:
    method, rest, headers, body = CASES[status]
    path = f"{PREFIX}/{noun}{rest}"
    if status == 405:
        path = next(one for one in paths() if one == path or one.startswith(path + "/"))
    answer = client.request(method, path, headers=headers, content=body)
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told.keys() >= SHAPE
    assert told.keys() <= SHAPE | {"details"}
    assert isinstance(told["code"], str)
    assert told["message"]
    assert "s3cret" not in answer.text
    if status == 429:
        assert answer.headers["retry-after"] == "1"
    if status == 500:
        assert told["code"] == "internal_error"
        assert told["details"]["errorId"]
    if status == 404:
        assert told["code"] == "not_found"


@pytest.mark.parametrize("path", [f"{PREFIX}/nowhere", PREFIX, "/api/v2x/dags", "/nowhere", f"{PREFIX}/dagsx/a", "/api/v3/dags"])
def test_what_nobody_owns_is_plainly_not_found(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@functools.cache
def paths() -> list[str]:
    """Every path under the prefix."""
    return [path for path in openapi_document()["paths"] if path.startswith(f"{PREFIX}/")]


def test_every_path_has_an_owner() -> None:
    assert {path.split("/")[3] for path in paths()} == {*NOUNS, *PLAN_NOUNS}
