"""What the audit log is told of requests that were let in, and how it is asked."""

from __future__ import annotations

from typing import Any

import pytest

from astrarium.errors import Unavailable
from astrarium.kernel.audit import act
from astrarium.kernel.types import Actor
from astrarium.surfaces.gate import Decision
from astrarium.surfaces.tenancy.audit import allowed as allowed_module
from astrarium.surfaces.tenancy.audit.allowed import AllowedLog, recording
from astrarium.surfaces.tenancy.audit.record import Wanted, check_store, read_page
from astrarium.web.caller import LOCAL_OWNER, PERSONAL
from tests.surfaces.tenancy.conftest import Open

WORKSPACE = PERSONAL.workspace


def decision(number: int) -> Decision:
    return Decision(LOCAL_OWNER, "runs:read", "getRun", "GET", f"/v1/runs/{number}", 200, f"request-{number}")


async def test_requests_are_recorded_in_order_and_none_waits(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url) as (_, engine):
        log = AllowedLog(engine)
        for number in range(allowed_module.BATCH + 3):
            log.check()
            log.note(decision(number))
        assert not (await read_page(engine.store.read, WORKSPACE, Wanted(act="auth.allowed"), 0, 1)).items
        async with recording(log):
            pass
        page = await read_page(engine.store.read, WORKSPACE, Wanted(act="auth.allowed"), 0, 1000)
        assert [one.detail["route"] for one in page.items[::-1]] == [f"/v1/runs/{n}" for n in range(allowed_module.BATCH + 3)]
        assert page.items[0].detail == {
            "capability": "runs:read", "method": "GET", "route": "/v1/runs/502", "status": 200, "request_id": "request-502",
        }  # fmt: skip
        assert (page.items[0].actor, page.items[0].subject) == ("user:local", "operation:getRun")
        assert not (await check_store(engine.store.read, WORKSPACE)).flaw


async def test_while_nothing_can_be_written_nothing_is_lost_and_at_last_nobody_is_let_in(
    open_tenancy: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_tenancy() as (_, engine):
        log = AllowedLog(engine)
        monkeypatch.setattr(allowed_module, "MOST", 3)

        async def fail(commands: Any, things: Any = ()) -> Any:
            raise Unavailable("the disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(engine, "submit_all", fail)
            for number in range(3):
                log.check()
                log.note(decision(number))
                with pytest.raises(Unavailable, match="disk"):
                    await log.flush()
            with pytest.raises(Unavailable, match="nobody is let in unseen"):
                log.check()
        await log.flush()
        log.check()
        page = await read_page(engine.store.read, WORKSPACE, Wanted(act="auth.allowed"), 0, 10)
        assert [one.detail["route"] for one in page.items] == ["/v1/runs/2", "/v1/runs/1", "/v1/runs/0"]


@pytest.mark.parametrize(("asked", "numbers"), [
    ({"act": "auth"}, [2, 1]), ({"act": "auth.denied"}, [1]), ({"act": "aut"}, []), ({"actor": "user"}, [4, 3, 1]),
    ({"actor": "user:a"}, [4, 1]), ({"subject": "x"}, [2, 1]), ({"subject": "x:1", "actor": "user"}, [1]),
])  # fmt: skip
async def test_a_name_is_meant_whole_or_up_to_a_separator_and_found_by_an_index(
    open_tenancy: Open, url: str, asked: dict[str, Any], numbers: list[int]
) -> None:
    rows = [("user", "a", "auth.denied", "x:1"), ("key", "k", "auth.allowed", "x"), ("user", "b", "authority", "y"),
            ("user", "a", "authz.x", "xy:1")]  # fmt: skip
    async with open_tenancy(url=url) as (_, engine):
        scope = PERSONAL.__class__("another", "e")
        for kind, id_, what, subject in rows:
            await engine.submit(act(scope, Actor(kind, id_), what, subject))
        page = await read_page(engine.store.read, "another", Wanted(**asked), 0, 10)
        assert [one.number for one in page.items] == numbers
        if engine.store.dialect == "sqlite":
            plan = await engine.store.read(
                "EXPLAIN QUERY PLAN SELECT * FROM audit WHERE workspace = ? AND subject = ?", ("w", "x")
            )
            assert "audit_subject" in str(plan)
