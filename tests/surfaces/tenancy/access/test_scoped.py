"""Tokens for workspaces at several servers, and the keys that sign them."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from astrarium.errors import Unauthenticated
from astrarium.kernel.clock import HandClock
from astrarium.kernel.types import Actor
from astrarium.surfaces.tenancy.access.at_hand import FRESH_US
from astrarium.surfaces.tenancy.access.signing import SPARE_S, TOKEN_S
from astrarium.surfaces.tenancy.catalog import USER
from astrarium.web.caller import LOCAL_OWNER, PERSONAL
from tests.surfaces.tenancy.conftest import Open

PASSWORD = "correct-horse"
ADMIN = Actor("user", "admin")


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def test_a_token_is_over_after_ten_minutes(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy() as (tenancy, _):
        entry = await tenancy.users.create(LOCAL_OWNER, "anna", PASSWORD, "operator")
        token = await tenancy.passes.make(Actor(USER, entry.id), PERSONAL.workspace)
        assert token is not None
        caller = await tenancy.identity.authenticate(token)
        assert (caller.scope, caller.role, caller.confined) == (PERSONAL, "operator", True)
        clock.turn(TOKEN_S)
        with pytest.raises(Unauthenticated) as told:
            await tenancy.identity.authenticate(token)
        assert told.value.details == {"credential": "token", "expired": True}
        assert await tenancy.passes.make(Actor(USER, "nobody"), PERSONAL.workspace) is None


async def test_old_keys_stay_published_until_their_tokens_are_over(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy() as (tenancy, _):
        signers = tenancy.signers
        first = [key["kid"] for key in await signers.jwks()]
        second = await signers.rotate(ADMIN)
        assert [key["kid"] for key in await signers.jwks()] == [*first, second]
        clock.turn(TOKEN_S + SPARE_S + 1)
        assert [key["kid"] for key in await signers.jwks()] == [second]
        third = await signers.rotate(ADMIN)
        assert [key["kid"] for key in await signers.jwks()] == [second, third]
    async with open_tenancy("w2") as (tenancy, engine):
        assert [key["kid"] for key in await tenancy.signers.jwks()] == [second, third]
        rows = await engine.store.read("SELECT count(*) FROM entries WHERE kind = 'signing_key' AND dropped_at = 0")
        assert rows == [(2,)], "one that is not needed any more ends"


async def test_first_uses_at_once_make_keys_that_agree(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, _):
        tokens = await asyncio.gather(*(tenancy.signers.sign({"sub": "x"}) for _ in range(4)))
        assert len({kid(token) for token in tokens}) == 1


async def test_without_the_secret_a_new_key_is_made(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy(master_key="a" * 40) as (tenancy, _):
        [old] = await tenancy.signers.jwks()
    async with open_tenancy("w2", master_key="b" * 40) as (tenancy, _):
        assert (await tenancy.signers.jwks())[0]["kid"] == old["kid"]
        assert kid(await tenancy.signers.sign({"sub": "x"})) != old["kid"]


@pytest.mark.postgres
async def test_another_server_sees_what_changed_within_a_second(
    open_tenancy: Open, clock: HandClock, postgres_database: str
) -> None:
    async with open_tenancy("w1", postgres_database) as (one, _), open_tenancy("w2", postgres_database) as (two, _):
        entry = await one.users.create(LOCAL_OWNER, "anna", PASSWORD, "operator")
        token = await one.passes.make(Actor(USER, entry.id), PERSONAL.workspace)
        assert token is not None
        caller = await two.identity.authenticate(token)
        ticket = one.tickets.make(caller)
        assert await two.identity.take_ticket(ticket) == caller
        with pytest.raises(Unauthenticated, match="used before"):
            await one.identity.take_ticket(ticket)
        made = await two.signers.rotate(ADMIN)
        clock.turn(FRESH_US / 1_000_000 + 0.1)
        assert kid(await one.signers.sign({"sub": "x"})) == made
        assert await two.identity.authenticate(token) == caller, "the key before is good still"
        await one.users.drop(LOCAL_OWNER, entry.id)
        clock.turn(FRESH_US / 1_000_000 + 0.1)
        with pytest.raises(Unauthenticated):
            await two.identity.authenticate(token)


@pytest.mark.postgres
async def test_servers_that_start_together_have_one_key(open_tenancy: Open, postgres_database: str) -> None:
    async with open_tenancy("w1", postgres_database) as (one, _), open_tenancy("w2", postgres_database) as (two, _):
        tokens = await asyncio.gather(one.signers.sign({"sub": "x"}), two.signers.sign({"sub": "x"}))
        assert {kid(token) for token in tokens} <= {key["kid"] for key in await one.signers.jwks()}
        assert len(await one.signers.jwks()) == 1
