"""Target roots: which are used when a build starts, and what is remembered."""

from __future__ import annotations

import pytest

from astrarium.config.home import Home
from astrarium.errors import Conflict
from astrarium.sdk.session import Session, settle_roots, sync_roots
from tests.sdk.registry import DEV, KEY, Registry
from tests.sdk.session.conftest import Configured


def test_the_first_build_takes_over_the_servers(signed_in: Home, configured: Configured, registry: Registry) -> None:
    registry.roots[DEV] = {"default": "~/data", "s3": "s3://b"}
    with Session(configured()) as session:
        assert settle_roots(session) == {"default": str(signed_in.folder / "data"), "s3": "s3://b"}
        assert settle_roots(session) == {"default": str(signed_in.folder / "data"), "s3": "s3://b"}
    assert configured().target_roots == {"default": str(signed_in.folder / "data"), "s3": "s3://b"}


@pytest.mark.parametrize("key", ["", KEY])
def test_roots_that_differ_are_a_mismatch_until_they_are_synced(
    signed_in: Home, configured: Configured, registry: Registry, key: str
) -> None:
    with Session(configured(api_key=key)) as session:
        sync_roots(session)
        registry.roots[DEV] = {"default": "/moved", "new": "/new"}
        with pytest.raises(Conflict) as caught:
            settle_roots(session)
        assert caught.value.message == (
            "Target root mismatch: default is /moved on the server, /dev-data here; new is /new on the server, not known here"
        )
        assert "`astrarium config target-roots sync`" in caught.value.hint
        sync_roots(session)
        assert settle_roots(session) == {"default": "/moved", "new": "/new"}


def test_roots_that_were_told_stand_as_they_are(signed_in: Home, configured: Configured, registry: Registry) -> None:
    with Session(configured(target_roots={"default": "/mine"})) as session:
        assert settle_roots(session) == {"default": "/mine"}
    assert registry.seen == []
