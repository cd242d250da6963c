"""Answers are forgotten, and their keys can be used again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from astrarium.kernel.clock import HandClock
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.repeat.machines.answer import DAY_US
from astrarium.surfaces.repeat.work import Repeats
from astrarium.web.caller import LOCAL_OWNER
from tests.kernel.book import make_registry, open_engine


def request(body: bytes = b"{}") -> Request:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": [(b"idempotency-key", b"k")],
             "server": ("127.0.0.1", 80), "scheme": "http"}  # fmt: skip
    return Request(scope, receive)


async def test_a_key_is_new_again_after_a_day_and_leaves_nothing(tmp_path: Path) -> None:
    clock, registry, repeats = HandClock(), make_registry(), Repeats()
    repeats.register(registry)
    made: list[int] = []

    async def act() -> Response:
        made.append(len(made))
        return Response(f"made {made[-1]}", 201)

    store = SqliteStore(tmp_path / "kernel.db", tables=registry.tables, synchronous="normal")
    async with open_engine(store, registry, "w1", clock) as engine:
        repeats.bind(engine)

        async def ask() -> bytes:
            return bytes((await repeats.once(request(), LOCAL_OWNER, act)).body)

        assert [await ask(), await ask()] == [b"made 0", b"made 0"]
        clock.turn_to(clock.now() + DAY_US - 1)
        assert await ask() == b"made 0", "over midnight"
        clock.turn_to(clock.now() + 1)
        assert [await ask(), await ask()] == [b"made 1", b"made 1"]
        left = "SELECT count(*) FROM events WHERE stream LIKE 'answer:%' AND type <> 'Tombstone'"
        assert (await store.read(left))[0][0] == 4
        await engine.jobs.start_working({})
        clock.turn_to(clock.now() + 3 * DAY_US)
        async with asyncio.timeout(30):
            while (await store.read(left))[0][0]:
                await engine.tail.changed()


async def test_a_request_that_breaks_frees_its_key(tmp_path: Path) -> None:
    clock, registry, repeats = HandClock(), make_registry(), Repeats()
    repeats.register(registry)

    async def fail() -> Response:
        raise KeyError("a defect")

    async def act() -> Response:
        return Response("made", 201)

    store = SqliteStore(tmp_path / "kernel.db", tables=registry.tables, synchronous="normal")
    async with open_engine(store, registry, "w1", clock) as engine:
        repeats.bind(engine)
        with pytest.raises(KeyError):
            await repeats.once(request(), LOCAL_OWNER, fail)
        assert (await repeats.once(request(), LOCAL_OWNER, act)).status_code == 201
