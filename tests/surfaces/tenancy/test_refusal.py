"""Refused sign-ins in the audit log: a record each, and a number where there are many."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from astrarium.errors import Unauthenticated, Unavailable
from astrarium.kernel.clock import HandClock
from astrarium.kernel.engine import Engine
from astrarium.surfaces.gate import Gate
from astrarium.surfaces.tenancy.audit.refusal import MINUTE_S, MOST, MOST_OF_ONE
from tests.surfaces.tenancy.conftest import Open


async def told(engine: Engine, what: str) -> list[tuple[str, dict[str, Any]]]:
    rows = await engine.store.read("SELECT subject, detail FROM audit WHERE act = ? ORDER BY number", (what,))
    return [(subject, json.loads(detail)) for subject, detail in rows]


async def test_many_refusals_are_counted_and_few_are_records(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy() as (tenancy, engine):
        for number in range(MOST_OF_ONE + 5):
            await tenancy.refusals.failed(f"user:{number}", "192.0.2.1")
        for number in range(MOST):
            await tenancy.refusals.failed("user:x", f"192.0.3.{number}", why="so")
        records = await told(engine, "auth.sign_in_failed")
        assert len(records) == MOST, "one address leaves room for the others"
        assert records[0] == ("user:0", {"address": "192.0.2.1"})
        assert records[-1] == ("user:x", {"address": f"192.0.3.{MOST - MOST_OF_ONE - 1}", "why": "so"})
        await tenancy.refusals.flush()
        await tenancy.refusals.flush()
        assert await told(engine, "auth.refusals_counted") == [("way:any", {"count": 5 + MOST_OF_ONE})]
        clock.turn(MINUTE_S)
        await tenancy.refusals.failed("user:late", "192.0.2.1")
        assert (await told(engine, "auth.sign_in_failed"))[-1][0] == "user:late"


async def test_what_was_counted_is_kept_until_it_is_written(open_tenancy: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_tenancy() as (tenancy, engine):
        for _ in range(MOST_OF_ONE + 2):
            await tenancy.refusals.failed("user:x", "192.0.2.1")

        async def full(command: Any) -> None:
            raise Unavailable("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(engine, "submit", full)
            with pytest.raises(Unavailable):
                await tenancy.refusals.flush()
        await tenancy.refusals.flush()
        assert await told(engine, "auth.refusals_counted") == [("way:any", {"count": 2})]


async def test_a_refused_credential_is_recorded_where_every_request_is(open_tenancy: Open) -> None:
    async def denied(*_: Any) -> None: ...

    async with open_tenancy() as (tenancy, engine):
        gate = Gate(denied, denied, allowed=SimpleNamespace(), allowed_under=("/v1",))  # type: ignore[arg-type]
        for path in ("/v1/runs", "/api/v2/dags"):
            connection: Any = SimpleNamespace(
                scope={"path": path},
                client=SimpleNamespace(host="2001:db8::17"),
                app=SimpleNamespace(state=SimpleNamespace(gate=gate)),
            )
            await tenancy.refusals.tell(connection, Unauthenticated("it has expired"))
        assert await told(engine, "auth.refused") == [("path:/v1/runs", {"address": "2001:db8::/64", "why": "it has expired"})]
