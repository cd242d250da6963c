"""One request against a small server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from astrarium.plugins.steps.http import STEP
from astrarium.runs.ports import StepFailed
from tests.contracts.step import FakeTry

pytestmark = pytest.mark.net


class Echo(BaseHTTPRequestHandler):
    release = threading.Event()
    asked = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.answer(200, {"path": self.path, "body": body, "key": self.headers.get("x-key")})

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.asked.set()
            self.release.wait(20)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/here")
            self.end_headers()
            return
        self.answer(404 if self.path == "/missing" else 200, {"path": self.path})

    def answer(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Echo.release.clear()
    Echo.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Echo.release.set()
    server.shutdown()
    server.server_close()


async def test_body_headers_query_are_sent_and_silent_shows_the_body_alone(ctx: FakeTry, url: str) -> None:
    ctx.variables |= {"URL": url, "K": "v"}
    result = await ctx.run(
        STEP, method="POST", url="$URL/a", headers={"X-Key": "$K"}, query={"q": "${K} w"}, body='{"b": "$K"}', silent=True
    )
    assert json.loads(result.output or "") == {"path": "/a?q=v+w", "body": '{"b": "v"}', "key": "v"}
    assert ctx.out == (result.output or "") + "\n"


async def test_status_and_headers_are_shown_otherwise(ctx: FakeTry, url: str) -> None:
    result = await ctx.run(STEP, method="GET", url=f"{url}/x")
    head, _, body = (result.output or "").partition("\n\n")
    assert head.splitlines()[0].endswith(" 200 OK") and "content-type: application/json" in head.lower()
    assert json.loads(body) == {"path": "/x"}


async def test_json_and_debug(ctx: FakeTry, url: str) -> None:
    result = await ctx.run(STEP, method="GET", url=f"{url}/x", json=True, debug=True, headers={"Authorization": "secret"})
    shown = json.loads(result.output or "")
    assert (shown["statusCode"], shown["body"]) == (200, {"path": "/x"})
    assert f"> GET {url}/x" in ctx.err and "secret" not in ctx.err


async def test_redirects_are_followed(ctx: FakeTry, url: str) -> None:
    assert '"/here"' in ((await ctx.run(STEP, method="GET", url=f"{url}/moved", silent=True)).output or "")


async def test_what_is_not_2xx_fails_with_its_code(ctx: FakeTry, url: str) -> None:
    result = await ctx.run(STEP, method="GET", url=f"{url}/missing", silent=True)
    assert result.outcome == "failed" and " answered 404 " in result.error and '"/missing"' in (result.output or "")


async def test_no_answer_in_time(ctx: FakeTry, url: str) -> None:
    with pytest.raises(StepFailed, match=r"no answer within 0\.05 s"):
        await ctx.run(STEP, method="GET", url=f"{url}/slow", timeout_s=0.05)


async def test_a_cancel_breaks_it_off(ctx: FakeTry, url: str) -> None:
    running = asyncio.create_task(ctx.run(STEP, method="GET", url=f"{url}/slow"))
    await asyncio.to_thread(Echo.asked.wait, 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ctx.out == ""


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:1/", "no-scheme", "http://[bad/"])
async def test_what_cannot_be_reached_says_so(ctx: FakeTry, wrong: str) -> None:
    with pytest.raises(StepFailed, match="GET "):
        await ctx.run(STEP, method="GET", url=wrong)
