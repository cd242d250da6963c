from __future__ import annotations

import asyncio

import pytest

from astrarium.errors import Forbidden, Unauthenticated
from astrarium.kernel.clock import HandClock
from astrarium.surfaces.tenancy.access.ticket import TICKET_S
from astrarium.web.caller import LOCAL_OWNER
from tests.surfaces.tenancy.conftest import Open

PASSWORD = "correct-horse"


async def test_a_ticket_is_good_once_and_for_half_a_minute(open_tenancy: Open, clock: HandClock, url: str) -> None:
    async with open_tenancy(url=url) as (tenancy, engine):
        await tenancy.users.create(LOCAL_OWNER, "anna", PASSWORD, "operator")
        _, token, _ = await tenancy.identity.sign_in("anna", PASSWORD)
        caller = await tenancy.identity.authenticate(token)
        ticket = tenancy.tickets.make(caller)
        assert await tenancy.identity.take_ticket(ticket) == caller
        with pytest.raises(Unauthenticated, match="used before"):
            await tenancy.identity.take_ticket(ticket)
        both = tenancy.tickets.make(caller)
        taken = await asyncio.gather(*(tenancy.identity.take_ticket(both) for _ in range(5)), return_exceptions=True)
        assert sum(one == caller for one in taken) == 1
        late = tenancy.tickets.make(caller)
        clock.turn(TICKET_S + 1)
        for bad in (late, token, ticket[:-2], ""):
            with pytest.raises(Unauthenticated):
                await tenancy.identity.take_ticket(bad)
        rows = await engine.store.read("SELECT count(*) FROM audit WHERE act = 'auth.ticket_used'")
        assert rows == [(2,)]


async def test_a_ticket_is_good_for_what_it_was_made_for(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, _):
        made = await tenancy.users.create(LOCAL_OWNER, "anna", PASSWORD, "viewer")
        _, token, _ = await tenancy.identity.sign_in("anna", PASSWORD)
        caller = await tenancy.identity.authenticate(token)
        with pytest.raises(Forbidden):
            tenancy.tickets.make(caller, ["runs:start"])
        narrow = await tenancy.identity.take_ticket(tenancy.tickets.make(caller, ["runs:read"]))
        assert narrow.may("runs:read") and not narrow.may("dags:read")
        owner = await tenancy.identity.take_ticket(tenancy.tickets.make(LOCAL_OWNER))
        assert owner == LOCAL_OWNER and owner.may("anything")
        gone = tenancy.tickets.make(caller)
        await tenancy.users.drop(LOCAL_OWNER, made.id)
        with pytest.raises(Unauthenticated, match="not here any more"):
            await tenancy.identity.take_ticket(gone)
