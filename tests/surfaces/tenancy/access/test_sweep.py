"""What signed-out sessions and refresh tokens leave behind goes once nobody can show them any more."""

from __future__ import annotations

import pytest

from astrarium.errors import Invalid, Unauthenticated
from astrarium.kernel.clock import HandClock
from astrarium.kernel.engine import Engine
from astrarium.surfaces.tenancy.access.renewal import FAMILY
from astrarium.surfaces.tenancy.identity import ENDED
from astrarium.surfaces.tenancy.room import SPARE_US, Tenancy
from astrarium.web.caller import LOCAL_OWNER, PERSONAL
from tests.surfaces.tenancy.conftest import Open

PASSWORD = "correct-horse"
HOUR_S = 3600.0


async def sign_in(tenancy: Tenancy) -> tuple[str, str]:
    """A session and a refresh token of it."""
    _, token, _ = await tenancy.identity.sign_in("anna", PASSWORD)
    session = tenancy.identity.session_of(token)
    assert session is not None
    caller = await tenancy.identity.authenticate(token)
    return token, await tenancy.renewals.begin(caller.actor, PERSONAL.workspace, session.turn, session)


async def sign_out(tenancy: Tenancy, token: str) -> None:
    session = tenancy.identity.session_of(token)
    assert session is not None
    await tenancy.identity.end_session(session)
    await tenancy.renewals.end_all(session)


async def kinds(engine: Engine) -> list[str]:
    rows = await engine.store.read("SELECT kind FROM entries WHERE kind IN (?, ?) ORDER BY kind", (ENDED, FAMILY))
    return [row[0] for row in rows]


async def refused(tenancy: Tenancy, session: str, refresh: str) -> None:
    with pytest.raises(Unauthenticated):
        await tenancy.identity.authenticate(session)
    with pytest.raises(Invalid) as told:
        await tenancy.renewals.renew(refresh)
    assert told.value.code == "invalid_grant"


async def test_what_is_over_is_swept_and_nothing_else(open_tenancy: Open, clock: HandClock, url: str) -> None:
    async with open_tenancy(url=url, session_s=2 * int(HOUR_S)) as (tenancy, engine):
        await tenancy.users.create(LOCAL_OWNER, "anna", PASSWORD, "operator")
        first = await sign_in(tenancy)
        await sign_out(tenancy, first[0])
        clock.turn(1.5 * HOUR_S)
        second, (session, refresh) = await sign_in(tenancy), await sign_in(tenancy)
        await sign_out(tenancy, second[0])
        assert await kinds(engine) == [ENDED] * 2 + [FAMILY] * 3

        assert await tenancy.sweep() == 2, "the refresh tokens of the sessions that were signed out of"
        clock.turn(0.5 * HOUR_S + 1)
        assert await tenancy.sweep() == 0, "the clock of another server may be behind"
        clock.turn(SPARE_US / 1_000_000)
        assert await tenancy.sweep() == 1, "the first session would have ended by itself"
        assert await kinds(engine) == [ENDED, FAMILY]
        for gone in (first, second):
            await refused(tenancy, *gone)
        await tenancy.identity.authenticate(session)
        refresh = (await tenancy.renewals.renew(refresh)).token

        clock.turn(0.5 * HOUR_S + SPARE_US / 1_000_000)
        assert await tenancy.sweep() == 2
        assert await kinds(engine) == []
        for gone in (first, second, (session, refresh)):
            await refused(tenancy, *gone)
        await sign_in(tenancy)
        assert await kinds(engine) == [FAMILY]
