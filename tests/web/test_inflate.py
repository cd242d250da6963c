"""Compressed request bodies."""

from __future__ import annotations

import gzip
import zlib

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from astrarium.web.inflate import Inflate
from astrarium.web.problems import Problems, Shapes

MOST = 1_000_000
GZIP = {"content-encoding": "gzip"}


async def echo(request: Request) -> Response:
    data = await request.body()
    return JSONResponse({"size": len(data), "crc": zlib.crc32(data), "encoding": request.headers.get("content-encoding")})


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = Starlette(routes=[Route("/", echo, methods=["POST"])])
    app.add_middleware(Inflate, most=MOST)
    app.add_middleware(Problems, shapes=Shapes())
    return TestClient(app)


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, MOST])
def test_a_body_is_unpacked(client: TestClient, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    said = client.post("/", content=gzip.compress(data), headers=GZIP).json()
    assert said == {"size": size, "crc": zlib.crc32(data), "encoding": None}


def test_what_is_not_compressed_passes(client: TestClient) -> None:
    assert client.post("/", content=b"abc").json()["size"] == 3
    assert client.post("/", content=b"abc", headers={"content-encoding": "br"}).json() == {
        "size": 3, "crc": zlib.crc32(b"abc"), "encoding": "br",
    }  # fmt: skip
    assert client.post("/", headers=GZIP).json()["size"] == 0


def test_a_bomb_is_refused(client: TestClient) -> None:
    answer = client.post("/", content=gzip.compress(b"\0" * (MOST + 1)), headers=GZIP)
    assert answer.status_code == 413 and "once it is unpacked" in answer.json()["detail"]


@pytest.mark.parametrize("data", [b"plain", gzip.compress(b"abc" * 1000)[:-9], gzip.compress(b"abc") + b"more"],
                         ids=["plain", "cut", "more"])  # fmt: skip
def test_what_is_no_gzip_is_refused(client: TestClient, data: bytes) -> None:
    answer = client.post("/", content=data, headers=GZIP)
    assert answer.status_code == 400 and "is not valid gzip" in answer.json()["detail"]


def test_a_body_that_comes_in_parts(client: TestClient) -> None:
    data = gzip.compress(bytes(range(256)) * 100)
    parts = (data[place : place + 7] for place in range(0, len(data), 7))
    assert client.post("/", content=parts, headers=GZIP).json()["size"] == 25_600
