"""Downloads: ranges, tags, names, and what a browser may do with what it gets. Through a real application with compression, as a
client sees it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from astrarium.errors import NotFound, Unavailable
from astrarium.web.app import create_app
from astrarium.web.problems import Shapes
from astrarium.web.stream.download import MOST_RANGES, Content, Part, disposition, download, parse_ranges, safe_name

DATA = bytes(range(256)) * 40
SIZE = len(DATA)


class Kept:
    """Content that tells what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.opened: list[tuple[int, int]] = []
        self.closed = 0
        self.error: Exception | None = None

    @asynccontextmanager
    async def open(self, first: int, length: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if self.error is not None:
            raise self.error
        self.opened.append((first, length))
        try:
            yield self._read(first, length)
        finally:
            self.closed += 1

    async def _read(self, first: int, length: int) -> AsyncIterator[bytes]:
        for at in range(first, first + length, 1000):
            yield self.data[at : min(at + 1000, first + length)]


class World:
    def __init__(self, kept: Kept, client: TestClient) -> None:
        self.kept = kept
        self.client = client
        self.content_type = "text/csv"
        self.name = "rows.csv"
        self.inline = False


@pytest.fixture
def world() -> World:
    app: FastAPI = create_app(version="1", shapes=Shapes(), body_max_bytes=1000, gzip_min_bytes=10)
    world = World(Kept(DATA), TestClient(app, headers={"accept-encoding": "gzip"}))

    async def get(request: Request) -> Response:
        content = Content(world.kept.open, len(world.kept.data), "abc", world.content_type, world.name)
        return download(request, content, inline=world.inline)

    app.router.add_route("/file", get, methods=["GET", "HEAD"])
    return world


def test_the_whole(world: World) -> None:
    answered = world.client.get("/file")
    assert (answered.status_code, answered.content) == (200, DATA)
    headers = answered.headers
    assert headers["content-length"] == str(SIZE)
    assert headers["etag"] == '"abc"'
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-encoding"] == "identity"
    assert headers["content-disposition"] == 'attachment; filename="rows.csv"'
    assert "sandbox" in headers["content-security-policy"]
    assert world.kept.closed == 1


def test_head_reads_nothing(world: World) -> None:
    answered = world.client.head("/file", headers={"range": "bytes=0-1"})
    assert (answered.status_code, answered.content) == (200, b"")
    assert answered.headers["content-length"] == str(SIZE)
    assert world.kept.opened == []


def test_an_empty_content(world: World) -> None:
    world.kept.data = b""
    assert world.client.get("/file").content == b""
    assert world.client.get("/file", headers={"range": "bytes=-5"}).status_code == 200
    assert world.client.get("/file", headers={"range": "bytes=0-"}).status_code == 416


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-9", 5, 9),
        ("BYTES=5-9", 5, 9),
        ("bytes= 5-9 ", 5, 9),
        ("bytes=10200-", 10200, SIZE - 1),
        ("bytes=10200-999999", 10200, SIZE - 1),
        ("bytes=-7", SIZE - 7, SIZE - 1),
        ("bytes=-999999", 0, SIZE - 1),
        ("bytes=0-4,5-9", 0, 9),
        ("bytes=4-9,0-6", 0, 9),
        ("bytes=5-9,99999-", 5, 9),
        ("bytes=,5-9,", 5, 9),
    ],
)
def test_one_range(world: World, asked: str, first: int, last: int) -> None:
    answered = world.client.get("/file", headers={"range": asked})
    assert (answered.status_code, answered.content) == (206, DATA[first : last + 1])
    assert answered.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert answered.headers["content-length"] == str(last - first + 1)
    assert answered.headers["content-type"].startswith("text/csv")
    assert world.kept.opened == [(first, last - first + 1)]


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=99999-100000", "bytes=-0", "bytes=99999-,-0"])
def test_nothing_there(world: World, asked: str) -> None:
    answered = world.client.get("/file", headers={"range": asked})
    assert (answered.status_code, answered.content) == (416, b"")
    assert answered.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "asked",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=9-5", "bytes=1-2,9-5", "bytes=1 -2", "lines=1-2", "bytes=--1", "bytes=1-2-3",
     "bytes=,", "bytes=" + "1" * 60 + "-", "bytes=" + ",".join(f"{n * 10}-{n * 10}" for n in range(MOST_RANGES + 1))],
)  # fmt: skip
def test_ranges_that_are_not_looked_at(world: World, asked: str) -> None:
    assert world.client.get("/file", headers={"range": asked}).status_code == 200


def test_several_ranges(world: World) -> None:
    answered = world.client.get("/file", headers={"range": "bytes=500-509, 0-9, -3"})
    assert answered.status_code == 206
    assert int(answered.headers["content-length"]) == len(answered.content)
    told = message_from_bytes(b"Content-Type: " + answered.headers["content-type"].encode() + b"\r\n\r\n" + answered.content)
    assert told.get_content_type() == "multipart/byteranges"
    parts = told.get_payload()
    assert isinstance(parts, list)
    assert [(part["content-range"], part["content-type"]) for part in parts] == [  # type: ignore[index]
        (f"bytes 500-509/{SIZE}", "text/csv"), (f"bytes 0-9/{SIZE}", "text/csv"), (f"bytes {SIZE - 3}-{SIZE - 1}/{SIZE}", "text/csv"),
    ]  # fmt: skip
    boundary = answered.headers["content-type"].partition("boundary=")[2].encode()
    bodies = [part.partition(b"\r\n\r\n")[2][:-2] for part in answered.content.split(b"--" + boundary)[1:-1]]
    assert bodies == [DATA[500:510], DATA[:10], DATA[-3:]]


def test_a_client_that_has_it(world: World) -> None:
    for tag in ('"abc"', 'W/"abc"', '"x", "abc"', "*"):
        answered = world.client.get("/file", headers={"if-none-match": tag, "range": "bytes=0-1"})
        assert (answered.status_code, answered.content, answered.headers["etag"]) == (304, b"", '"abc"')
    for tag in ('"abd"', "abc", '"ab", "c"'):
        assert world.client.get("/file", headers={"if-none-match": tag}).status_code == 200


def test_a_client_that_wants_just_this(world: World) -> None:
    assert world.client.get("/file", headers={"if-match": '"abc"'}).status_code == 200
    assert world.client.get("/file", headers={"if-match": "*"}).status_code == 200
    for tag in ('"abd"', 'W/"abc"'):
        assert world.client.get("/file", headers={"if-match": tag}).status_code == 412


def test_a_client_that_has_a_part(world: World) -> None:
    assert world.client.get("/file", headers={"range": "bytes=5-", "if-range": '"abc"'}).status_code == 206
    for other in ('"abd"', 'W/"abc"', "Sun, 22 Nov 2026 10:00:00 GMT"):
        answered = world.client.get("/file", headers={"range": "bytes=5-", "if-range": other})
        assert (answered.status_code, answered.content) == (200, DATA)


def test_what_cannot_be_opened_is_an_error(world: World) -> None:
    world.kept.error = NotFound("there is no blob")
    assert world.client.get("/file").status_code == 404
    world.kept.error = Unavailable("the disk failed")
    assert world.client.get("/file", headers={"range": "bytes=0-1,5-6"}).status_code == 503


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("text/plain; charset=utf-8", True), ("image/png", True), ("TEXT/CSV", True), ("text/html", False), ("image/svg+xml", False),
     ("application/xhtml+xml", False), ("text/xml", False), ("application/pdf", False), ("text/javascript", False), ("x/y", False)],
)  # fmt: skip
def test_only_what_runs_nothing_is_shown_in_place(world: World, kind: str, shown: bool) -> None:
    world.content_type, world.inline = kind, True
    headers = world.client.get("/file").headers
    assert headers["content-disposition"].startswith("inline;" if shown else "attachment;")
    assert (headers["content-type"], "sandbox" in headers["content-security-policy"]) == (kind, True)


@pytest.mark.parametrize("kind", ["", "text", "text/html\r\nset-cookie: a=b", "text/pl\u00e4in", "\u0000/x"])
def test_a_type_that_is_none(world: World, kind: str) -> None:
    world.content_type = kind
    assert world.client.get("/file").headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.md", "report.md"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\x.exe", "x.exe"),
        (".bashrc", "bashrc"),
        ("a\r\nSet-Cookie: x.txt", "aSet-Cookie_ x.txt"),
        ("\u202egpj.exe", "gpj.exe"),
        ("con", "_con"),
        ("LPT1.txt", "_LPT1.txt"),
        ("conan.txt", "conan.txt"),
        ('a"b<c>|?*.txt', "a_b_c____.txt"),
        ("", "download"),
        ("///", "download"),
        ("..", "download"),
        ("\ud800", "download"),
        ("ü" * 300 + ".txt", "ü" * 98 + ".txt"),
        ("x" * 300, "x" * 200),
    ],
)
def test_names_for_saving(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_dispositions() -> None:
    assert disposition("a b.txt", inline=True) == 'inline; filename="a b.txt"'
    assert disposition("naïve 100%.txt", inline=False) == (
        "attachment; filename=\"na_ve 100_.txt\"; filename*=UTF-8''na%C3%AFve%20100%25.txt"
    )


@given(st.text())
def test_no_name_breaks_the_header(name: str) -> None:
    told = disposition(name, inline=False)
    assert re.fullmatch(r"attachment; filename=\"[ !#-$&-\[\]-~]+\"(; filename\*=UTF-8''[A-Za-z0-9%._~-]+)?", told)


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(0, 60)), st.one_of(st.none(), st.integers(0, 60))), min_size=1, max_size=6
    ),
    st.integers(0, 40),
)
def test_ranges_are_what_was_asked_for(asked: list[tuple[int | None, int | None]], size: int) -> None:
    """Each byte asked for is sent, once, and no other."""
    value = "bytes=" + ",".join(f"{'' if first is None else first}-{'' if last is None else last}" for first, last in asked)
    wanted: set[int] = set()
    for first, last in asked:
        if first is None and last is not None:
            wanted |= set(range(max(0, size - last), size))
        elif first is not None:
            wanted |= set(range(first, min(size, size if last is None else last + 1)))
    parts = parse_ranges(value, size)
    if parts is None:
        return
    sent = [place for part in parts for place in range(part.first, part.last + 1)]
    assert sorted(sent) == sorted(wanted)
    assert all(isinstance(part, Part) and 0 <= part.first <= part.last < size for part in parts)
