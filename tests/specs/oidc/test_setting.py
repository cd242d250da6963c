"""The provider by settings, also as the build registry's server calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrarium.config import is_own, load_settings
from astrarium.errors import Invalid

GIVEN = {
    "OIDC_ISSUER_URL": "https://login.example", "OIDC_EXTERNAL_ISSUER_URL": "https://out.example", "OIDC_AUDIENCE": "a,b",
    "OIDC_JWKS_URL": "https://login.example/keys", "OIDC_JWKS_CACHE_TTL": "60", "OIDC_CLIENT_ID": "web", "OIDC_CLIENT_SECRET": "hush",
    "OIDC_SDK_CLIENT_ID": "cli",
}  # fmt: skip


def test_the_names_the_registry_uses(tmp_path: Path) -> None:
    found = load_settings({"auth": "oidc"}, {**GIVEN, "ASTRARIUM_OIDC_CLIENT_ID": "ours"}, tmp_path)
    assert (found.oidc_issuer, found.oidc_external_issuer, found.oidc_audience) == (
        "https://login.example",
        "https://out.example",
        "a,b",
    )
    assert (found.oidc_jwks_url, found.oidc_jwks_ttl_s) == ("https://login.example/keys", 60)
    assert (found.oidc_client_id, found.oidc_sdk_client_id, found.oidc_client_secret) == ("ours", "cli", "hush")
    assert found.shown("oidc_client_secret") == "(set)" and all(is_own(name) for name in GIVEN), "no run is given them"
    assert not is_own("OIDC_TOKEN")


@pytest.mark.parametrize(
    "flags",
    [{"auth": "oidc"}, {"oidc_issuer": "login.example"}, {"oidc_jwks_ttl_s": 0}, {"oidc_role": "owner"}, {"oidc_leeway_s": 601}],
)
def test_what_cannot_be_is_refused(flags: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="settings are wrong"):
        load_settings(flags, {}, tmp_path)


def test_a_server_with_a_provider_may_listen_anywhere(tmp_path: Path) -> None:
    flags = {"auth": "oidc", "oidc_issuer": "https://login.example", "host": "0.0.0.0"}
    assert load_settings(flags, {}, tmp_path).host == "0.0.0.0"
