"""Routes found by their segments."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import Scope

from astrarium.surfaces.route import RouteIndex, index_of
from astrarium.web.app import Application, create_app
from astrarium.web.problems import Shapes

PATHS = (
    "/health", "/a", "/a/{one}", "/a/search", "/a/{one}/b", "/a/{one}/{two}", "/a/{one}/b/{two}", "/a/{one}/b/{two}/c",
    "/a/{one}/b/fixed/c", "/x/y/z/{one}", "/x/y/z/w/v", "/{any}/y", "/v1/runs/{id}",
)  # fmt: skip


def endpoint(path: str) -> Any:
    async def act(request: Request) -> Response:
        return JSONResponse({"path": path, "params": request.path_params})

    return act


def one_by_one() -> Starlette:
    return Starlette(routes=[Route(path, endpoint(path), methods=["GET"]) for path in PATHS])


def by_segments() -> Starlette:
    app = Starlette()
    index = index_of(app.router.routes)
    assert index_of(app.router.routes) is index
    for path in PATHS:
        index.add(path, endpoint(path), ["GET"])
    return app


ASKED = (
    "/", "/health", "/a", "/a/", "/a/1", "/a/search", "/a/1/b", "/a/1/2", "/a/1/b/2", "/a/1/b/2/c", "/a/1/b/fixed/c", "/x/y/z/1",
    "/x/y/z/w/v", "/x/y", "/q/y", "/a/y", "/v1/runs/7", "/v1/runs/", "/v1/runs", "/nope", "/a/%2F/b", "/a/b%2Fc", "/a/ü", "//a", "/A",
)  # fmt: skip


def at_once() -> FastAPI:
    """Those that can be are found before the framework looks."""
    app = create_app(version="1", shapes=Shapes(), body_max_bytes=1000)
    index = index_of(app.router.routes)
    for path in PATHS:
        index.add(path, endpoint(path), ["GET"])
    assert isinstance(app, Application)
    app.find = index.find
    return app


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_same_route_is_found_as_by_asking_each(path: str, method: str) -> None:
    theirs, ours, quick = (TestClient(app).request(method, path) for app in (one_by_one(), by_segments(), at_once()))
    assert (ours.status_code, ours.content, ours.headers.get("allow")) == (
        theirs.status_code, theirs.content, theirs.headers.get("allow"),
    )  # fmt: skip
    # our application redirects nobody
    told = (404, None) if theirs.history else (theirs.status_code, theirs.headers.get("allow"))
    assert (quick.status_code, quick.headers.get("allow")) == told
    assert quick.status_code != 200 or quick.content == theirs.content


def test_a_parameter_that_is_part_of_its_segment_is_left_to_the_route() -> None:
    index = RouteIndex()
    index.add("/a/{name}.json", endpoint("part"), ["GET"])
    index.add("/b/{name}", endpoint("whole"), ["GET"])
    part: Scope = {"type": "http", "method": "GET", "path": "/a/x.json"}
    whole: Scope = {"type": "http", "method": "GET", "path": "/b/x"}
    assert index.find(part) is None and "path_params" not in part
    assert index.find(whole) is not None and whole["path_params"] == {"name": "x"}


def test_two_routes_of_one_path_and_different_methods() -> None:
    app = Starlette()
    index = index_of(app.router.routes)
    index.add("/a/{id}", endpoint("get"), ["GET"])
    index.add("/a/{id}", endpoint("put"), ["PUT"])
    client = TestClient(app)
    assert client.get("/a/1").json()["path"] == "get" and client.put("/a/1").json()["path"] == "put"
    assert client.delete("/a/1").status_code == 405


def test_below_a_mounted_path() -> None:
    app = Starlette(routes=[Mount("/below", by_segments())])
    assert TestClient(app).get("/below/a/1/b").json() == {"path": "/a/{one}/b", "params": {"one": "1"}}


def test_a_parameter_is_one_segment() -> None:
    with pytest.raises(ValueError, match="one segment"):
        RouteIndex().add("/files/{name:path}", endpoint("x"), ["GET"])
