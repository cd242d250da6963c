"""First contacts at once make one of each."""

from __future__ import annotations

import asyncio

import pytest

from astrarium.config import Settings
from astrarium.surfaces.tenancy.access.provider import Person, Provider, person_of_claims
from astrarium.surfaces.tenancy.room import Tenancy
from tests.surfaces.tenancy.conftest import Open

COUNTS = "SELECT kind, count(*) FROM entries WHERE kind IN ('user', 'workspace', 'environment', 'target_root') GROUP BY kind"


def person(subject: str, email: str, **more: object) -> Person:
    return person_of_claims(subject, {"sub": subject, "email": email, **more}, 0)


async def test_first_contacts_at_once_make_one_user_and_one_workspace(open_tenancy: Open, url: str) -> None:
    async with open_tenancy(url=url) as (tenancy, engine):
        before = dict(await engine.store.read(COUNTS))
        found = await asyncio.gather(*(tenancy.newcomers.admit(person("s", "anna@x")) for _ in range(8)))
        assert len({entry.id for entry in found}) == 1
        after = dict(await engine.store.read(COUNTS))
        grown = {kind: count - before.get(kind, 0) for kind, count in after.items()}
        assert grown == {"user": 1, "workspace": 1, "environment": 1, "target_root": 1}


@pytest.mark.postgres
async def test_also_at_two_servers(open_tenancy: Open, postgres_database: str) -> None:
    async with open_tenancy("w1", postgres_database) as (one, engine), open_tenancy("w2", postgres_database) as (two, _):
        servers: list[Tenancy] = [one, two] * 3
        found = await asyncio.gather(*(server.newcomers.admit(person("s", "anna@x")) for server in servers))
        assert len({entry.id for entry in found}) == 1
        rows = await engine.store.read("SELECT count(*) FROM entries WHERE kind = 'workspace'")
        assert rows == [(2,)], "the server's own, and theirs"


async def test_two_people_with_one_local_part_at_once_have_two_slugs(open_tenancy: Open) -> None:
    async with open_tenancy() as (tenancy, engine):
        people = [person(f"s{number}", f"anna@x{number}") for number in range(6)]
        await asyncio.gather(*(tenancy.newcomers.admit(one) for one in people))
        rows = await engine.store.read("SELECT name FROM entries WHERE kind = 'workspace' AND name LIKE 'anna%'")
        assert len({name for (name,) in rows}) == 6 and ("anna",) in rows


@pytest.mark.parametrize(
    ("email", "slug"),
    [("Anna.Ant+x@y", "anna-ant-x"), ("__a__@y", "a-"), ("ß@y", ""), ("a" * 70 + "@y", "a" * 55)],
)
async def test_slugs_of_odd_addresses(open_tenancy: Open, email: str, slug: str) -> None:
    async with open_tenancy() as (tenancy, engine):
        await tenancy.newcomers.admit(person("s", email))
        rows = await engine.store.read("SELECT name FROM entries WHERE kind = 'workspace' AND name <> 'personal'")
        assert rows[0][0].startswith(slug) and 2 <= len(rows[0][0]) <= 64


def test_how_a_person_is_called() -> None:
    def name(**claims: object) -> str:
        return person("sub-1", "a.b@c", **claims).name

    assert name(name="N", given_name="G") == "N"
    assert name(given_name="G", family_name="F", preferred_username="p") == "G F"
    assert name(family_name="F") == "F" and name(preferred_username="p") == "p"
    assert name() == "a.b" and person("sub-1", "").name == "sub-1"


def test_a_provider_has_the_names_of_its_settings() -> None:
    settings = Settings(auth="oidc", oidc_issuer="https://a/", oidc_external_issuer="https://b", oidc_audience=" x ,y,")
    provider = Provider(settings, None)  # type: ignore[arg-type]
    assert set(provider.issuers) == {"https://a", "https://a/", "https://b", "https://b/"}
    assert provider.external == "https://b" and provider.audiences == {"x", "y"}
