"""From credentials to callers, with the clock in hand."""

from __future__ import annotations

import asyncio
import base64
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from astrarium.config import Settings
from astrarium.errors import AstrariumError, Forbidden, Invalid, NotFound, Refused, TooOften, Unauthenticated
from astrarium.kernel.clock import HandClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.types import Scope
from astrarium.surfaces.tenancy.access.at_hand import AtHand
from astrarium.surfaces.tenancy.catalog import KeyBody
from astrarium.surfaces.tenancy.identity import USED_AGAIN_US, is_open
from astrarium.surfaces.tenancy.password import ANYWHERE_S, TRIES_ANYWHERE, TRIES_HERE
from astrarium.surfaces.tenancy.role import CAPABILITIES, capabilities_of
from astrarium.surfaces.tenancy.room import BY_SETTINGS, Tenancy
from astrarium.web.caller import LOCAL_OWNER
from tests.surfaces.tenancy.conftest import Open

OWNER = LOCAL_OWNER
PASSWORD = "correct-horse"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


async def acts(engine: Engine, what: str) -> list[str]:
    return [row[0] for row in await engine.store.read("SELECT subject FROM audit WHERE act = ? ORDER BY number", (what,))]


async def refused(tenancy: Tenancy, credential: str) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await tenancy.identity.authenticate(credential)
    assert caught.value.challenge.startswith("Bearer")
    return caught.value


async def test_a_session_lasts_until_its_end(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy(session_s=3600) as (tenancy, engine):
        user = await tenancy.users.create(OWNER, "anna", PASSWORD, "operator")
        entry, token, until = await tenancy.identity.sign_in("anna", PASSWORD)
        assert entry.id == user.id and abs(until - clock.now() - 3_600_000_000) <= 1_000_000
        caller = await tenancy.identity.authenticate(token)
        assert (caller.actor.kind, caller.actor.id, caller.name, caller.role) == ("user", user.id, "anna", "operator")
        assert caller.may("runs:start") and not caller.may("dags:write")
        clock.turn(3598)
        assert await tenancy.identity.authenticate(token) == caller
        clock.turn(3)
        assert "ended" in (await refused(tenancy, token)).message
        assert await acts(engine, "auth.signed_in") == [f"user:{user.id}"]


async def test_sessions_end_with_the_password_and_the_user(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url) as (tenancy, _):
        user = await tenancy.users.create(OWNER, "anna", PASSWORD, "viewer")
        _, first, _ = await tenancy.identity.sign_in("anna", PASSWORD)
        with pytest.raises(Unauthenticated, match="current password"):
            await tenancy.users.change_password(OWNER, await tenancy.users.get(OWNER, user.id), "wrong", "another-one")
        await tenancy.users.change_password(OWNER, await tenancy.users.get(OWNER, user.id), PASSWORD, "another-one")
        await refused(tenancy, first)
        with pytest.raises(Unauthenticated):
            await tenancy.identity.sign_in("anna", PASSWORD)
        _, second, _ = await tenancy.identity.sign_in("anna", "another-one")
        await tenancy.users.reset_password(OWNER, user.id, "third-password")
        await refused(tenancy, second)
        _, third, _ = await tenancy.identity.sign_in("anna", "third-password")
        await tenancy.users.change(OWNER, user.id, "hanna", "manager")
        caller = await tenancy.identity.authenticate(third)
        assert (caller.name, caller.role) == ("hanna", "manager"), "a change counts at once, the session goes on"
        with pytest.raises(Forbidden, match="own account"):
            await tenancy.users.drop(caller, user.id)
        await tenancy.users.drop(OWNER, user.id)
        await refused(tenancy, third)
        with pytest.raises(NotFound):
            await tenancy.users.get(OWNER, user.id)


async def test_repeated_failures_make_a_name_wait_whether_it_exists_or_not(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy() as (tenancy, engine):
        await tenancy.users.create(OWNER, "anna", PASSWORD, "viewer")
        told: dict[str, list[str]] = {}
        for name in ("anna", "nobody"):
            for _ in range(TRIES_HERE + 1):
                with pytest.raises((Unauthenticated, TooOften)) as caught:
                    await tenancy.identity.sign_in(name, "wrong-password", "192.0.2.1")
                told.setdefault(name, []).append(caught.value.message)
        assert told["anna"] == told["nobody"] and "has to wait" in told["anna"][-1]
        with pytest.raises(TooOften, match="has to wait 300 s") as waits:
            await tenancy.identity.sign_in("anna", PASSWORD, "192.0.2.1")
        assert waits.value.retry_after_s == 300
        assert len(await acts(engine, "auth.sign_in_failed")) == 2 * TRIES_HERE + 3
        await tenancy.identity.sign_in("anna", PASSWORD, "192.0.2.2")
        clock.turn(301)
        await tenancy.identity.sign_in("anna", PASSWORD, "192.0.2.1")


async def test_a_stranger_cannot_lock_out_a_user_where_they_are_at_home(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy() as (tenancy, _):
        await tenancy.users.create(OWNER, "anna", PASSWORD, "viewer")
        await tenancy.identity.sign_in("anna", PASSWORD, "home")
        tries = [
            tenancy.identity.sign_in(("anna", "Anna")[number % 2], "wrong-password", f"stranger {number}")
            for number in range(TRIES_ANYWHERE)
        ]
        said = await asyncio.gather(*tries, return_exceptions=True)
        assert [type(one) for one in said] == [Unauthenticated] * (TRIES_ANYWHERE - 1) + [TooOften], "all at once count, too"
        with pytest.raises(TooOften):
            await tenancy.identity.sign_in("anna", PASSWORD, "elsewhere")
        await tenancy.identity.sign_in("anna", PASSWORD, "home")
        clock.turn(ANYWHERE_S + 1)
        await tenancy.identity.sign_in("anna", PASSWORD, "elsewhere")


async def test_a_key_is_its_role_until_it_is_revoked(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, _):
        entry, text = await tenancy.keys.create(OWNER, "ci", "operator")
        caller = await tenancy.identity.authenticate(text)
        assert (caller.actor.kind, caller.actor.id, caller.name) == ("key", entry.id, "ci")
        assert caller.scope == Scope("personal", "local") and caller.may("runs:start")
        await tenancy.keys.change(OWNER, entry.id, None, "for the build", "viewer")
        assert not (await tenancy.identity.authenticate(text)).may("runs:start")
        for wrong in (text[:-1], text + "x", text[:18] + "A" * 24, "sk_", text.upper()):
            await refused(tenancy, wrong)
        await tenancy.keys.drop(OWNER, entry.id)
        assert (await refused(tenancy, text)).code == "auth.token_invalid"


async def test_a_key_may_expire(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy() as (tenancy, _):
        until = clock.now() + 60_000_000
        _, text = await tenancy.keys.create(OWNER, "ci", "viewer", "", until)
        await tenancy.identity.authenticate(text)
        clock.turn(61)
        assert "expired" in (await refused(tenancy, text)).message
        with pytest.raises(Invalid, match="past"):
            await tenancy.keys.create(OWNER, "late", "viewer", "", until)


async def test_a_request_with_a_key_or_session_reads_nothing_and_hashes_no_password(
    open_tenancy: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_tenancy() as (tenancy, engine):
        await tenancy.users.create(OWNER, "anna", PASSWORD, "viewer")
        _, token, _ = await tenancy.identity.sign_in("anna", PASSWORD)
        _, key = await tenancy.keys.create(OWNER, "ci", "viewer")
        callers = [await tenancy.identity.authenticate(one) for one in (key, token)]

        async def forbidden(*args: Any) -> Any:
            raise AssertionError("a request may not do this")

        await engine.settle()
        monkeypatch.setattr(engine.store, "read", forbidden)
        monkeypatch.setattr(tenancy.identity._passwords, "matches", forbidden)
        for _ in range(3):
            assert [await tenancy.identity.authenticate(one) for one in (key, token)] == callers


async def test_use_is_told_at_once_and_written_now_and_then(open_tenancy: Open, clock: HandClock) -> None:
    async with open_tenancy() as (tenancy, engine):
        entry, text = await tenancy.keys.create(OWNER, "ci", "viewer")
        assert tenancy.identity.used_at(await tenancy.keys.get(OWNER, entry.id)) == 0
        for _ in range(5):
            clock.turn(1)
            await tenancy.identity.authenticate(text)
        await engine.settle()
        kept = await tenancy.keys.get(OWNER, entry.id)
        assert tenancy.identity.used_at(kept) == clock.now() > kept.used_at > 0

        async def notes() -> int:
            return int((await engine.store.read("SELECT count(*) FROM events WHERE type = 'EntryTouched'"))[0][0])

        assert await notes() == 1
        clock.turn(USED_AGAIN_US / 1_000_000)
        await tenancy.identity.authenticate(text)
        await engine.settle()
        assert await notes() == 2
        assert (await tenancy.keys.get(OWNER, entry.id)).version == 1


async def test_a_restart_keeps_sessions_keys_and_names(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url) as (tenancy, _):
        await tenancy.users.create(OWNER, "anna", PASSWORD, "viewer")
        _, token, _ = await tenancy.identity.sign_in("anna", PASSWORD)
        _, key = await tenancy.keys.create(OWNER, "ci", "viewer")
        callers = [await tenancy.identity.authenticate(one) for one in (key, token)]
    async with open_tenancy("w2", url) as (tenancy, _):
        assert [await tenancy.identity.authenticate(one) for one in (key, token)] == callers
        with pytest.raises(Refused):
            await tenancy.users.create(OWNER, "anna", PASSWORD, "viewer")
        await tenancy.identity.sign_in("anna", PASSWORD)


async def test_of_many_creations_of_one_name_one_succeeds(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url) as (tenancy, engine):
        made = [tenancy.users.create(OWNER, "anna", PASSWORD, "viewer") for _ in range(4)]
        keys = [tenancy.keys.create(OWNER, "ci", "viewer") for _ in range(4)]
        results = await asyncio.gather(*made, *keys, return_exceptions=True)
        assert sum(isinstance(result, Refused) for result in results) == 6
        assert len(await tenancy.users.all(OWNER)) == len(await tenancy.keys.all(OWNER)) == 1
        assert len(await acts(engine, "user.created")) == len(await acts(engine, "key.created")) == 1


@pytest.mark.parametrize(("more", "open_"), [
    ({"auth": "none"}, True), ({"auth": "builtin"}, False), ({"auth": "none", "auth_token": "t"}, False),
    ({"auth": "none", "auth_username": "a", "auth_password": "b"}, False),
])  # fmt: skip
async def test_without_a_credential(open_tenancy: Open, more: dict[str, Any], open_: bool) -> None:
    assert is_open(Settings(**more)) is open_
    async with open_tenancy(**more) as (tenancy, _):
        if open_:
            caller = await tenancy.identity.authenticate("")
            assert caller == LOCAL_OWNER and all(caller.may(one) for one in CAPABILITIES)
            _, key = await tenancy.keys.create(caller, "ci", "viewer")
            assert (await tenancy.identity.authenticate(key)).role == "viewer", "a key counts where none is needed, too"
            assert (await refused(tenancy, key + "x")).code == "auth.token_invalid"
        else:
            assert (await refused(tenancy, "")).code == "auth.unauthorized"


async def test_what_the_settings_name_acts_as_admin(open_tenancy: Open) -> None:
    more = {"auth_token": "static-ü", "auth_username": "ops", "auth_password": "pass:word", "local_token": "from-server-json"}
    async with open_tenancy(**more) as (tenancy, _):
        for credential, name in (("static-ü", "static token"), (basic("ops:pass:word"), "ops"), ("from-server-json", "local")):
            caller = await tenancy.identity.authenticate(credential)
            assert caller.name == name and all(caller.may(one) for one in capabilities_of("admin"))
        for wrong in ("static", basic("ops:wrong"), basic("ops"), "Basic %%%", "Basic", basic(":"), "from-server-jso", "\ud800"):
            assert "Basic realm" in (await refused(tenancy, wrong)).challenge
    async with open_tenancy("w2") as (tenancy, _):
        for wrong in (basic(":"), basic(""), "from-server-json"):
            assert "Basic" not in (await refused(tenancy, wrong)).challenge


async def test_the_first_user_comes_from_the_settings_once(open_tenancy: Open) -> None:
    async with open_tenancy(admin_username="root", admin_password=PASSWORD) as (tenancy, _):
        await tenancy.identity.sign_in("root", PASSWORD)
    async with open_tenancy("w2", admin_username="other", admin_password="another-password") as (tenancy, _):
        assert [entry.name for entry in await tenancy.users.all(BY_SETTINGS)] == ["root"]


@pytest.mark.parametrize(("name", "role", "password"), [
    ("", "viewer", PASSWORD), (" anna", "viewer", PASSWORD), ("an\nna", "viewer", PASSWORD), ("x" * 65, "viewer", PASSWORD),
    ("an\ud800na", "viewer", PASSWORD), ("anna", "root", PASSWORD), ("anna", "viewer", "short"),
])  # fmt: skip
async def test_what_cannot_be_a_user(open_tenancy: Open, name: str, role: str, password: str) -> None:
    async with open_tenancy() as (tenancy, engine):
        with pytest.raises(Invalid):
            await tenancy.users.create(OWNER, name, password, role)
        assert await engine.store.read("SELECT 1 FROM entries WHERE kind = 'user'") == []


async def test_nothing_secret_is_kept_in_clear(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url) as (tenancy, engine):
        await tenancy.users.create(OWNER, "anna", PASSWORD, "viewer")
        _, token, _ = await tenancy.identity.sign_in("anna", PASSWORD)
        _, key = await tenancy.keys.create(OWNER, "ci", "viewer")
        await tenancy.identity.authenticate(key)
        with pytest.raises(Unauthenticated):
            await tenancy.identity.sign_in("anna", "my-other-password")
        await engine.settle()
        tables = ("events", "entries", "audit", "slots", "heads", "receipts")
        kept = "".join([str(await engine.store.read(f"SELECT * FROM {table}")) for table in tables])
        for secret in (PASSWORD, "my-other-password", token, key, key[18:]):
            assert secret not in kept
        audited = str(await engine.store.read("SELECT * FROM audit"))
        assert "argon2" not in audited and KeyBody("viewer", "local", key[:8]).prefix not in audited
        assert msgspec.json.encode(await acts(engine, "key.created"))


async def test_what_is_at_hand_is_a_second_old_where_others_write_too_and_never_older_than_a_change(clock: HandClock) -> None:
    store = SimpleNamespace(shared=True)
    present, asked = ["one"], [0]
    going = asyncio.Event()
    going.set()

    async def look_up(key: str) -> str | None:
        asked[0] += 1
        found = present[0]
        await going.wait()
        return found

    known: AtHand[str] = AtHand(look_up, SimpleNamespace(store=store, clock=clock))  # type: ignore[arg-type]
    assert [await known.get("k") for _ in range(3)] == ["one"] * 3 and asked == [1]
    present[0] = "two"
    clock.turn(1.1)
    assert await known.get("k") == "two"
    store.shared = False
    clock.turn(1000)
    assert await known.get("k") == "two" and asked == [2]
    known.forget()
    going.clear()
    reading = asyncio.ensure_future(known.get("k"))
    await asyncio.sleep(0)
    present[0] = "three"
    known.forget()
    going.set()
    assert await reading == "two", "it was asked before the change"
    assert await known.get("k") == "three", "and is not kept"


async def refused_soon(tenancy: Tenancy, engine: Engine, credential: str) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            await tenancy.identity.authenticate(credential)
        except AstrariumError:
            return
        assert time.monotonic() < end, "it is still taken"
        changed = asyncio.ensure_future(engine.tail.changed())
        await asyncio.wait((changed,), timeout=0.1)
        changed.cancel()


@pytest.mark.postgres
async def test_what_ended_at_one_server_is_refused_by_the_others(open_tenancy: Open, postgres_database: str) -> None:
    async with (
        open_tenancy("w1", postgres_database) as (first, _),
        open_tenancy("w2", postgres_database) as (second, engine),
    ):
        entry, key = await first.keys.create(OWNER, "ci", "viewer")
        user = await second.users.create(OWNER, "anna", PASSWORD, "viewer")
        _, token, _ = await first.identity.sign_in("anna", PASSWORD)
        _, left, _ = await first.identity.sign_in("anna", PASSWORD)
        for credential in (key, token, left):
            assert (await second.identity.authenticate(credential)).role == "viewer"
        session = first.identity.session_of(left)
        assert session is not None
        await first.identity.end_session(session)
        await refused_soon(second, engine, left)
        with pytest.raises(Refused):
            await second.keys.create(OWNER, "ci", "viewer")
        await first.keys.drop(OWNER, entry.id)
        await first.users.drop(OWNER, user.id)
        for credential in (key, token):
            await refused_soon(second, engine, credential)
