"""Which limits the settings and variables make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astrarium.config import Settings, load_settings
from astrarium.errors import Invalid
from astrarium.server import limits_of
from astrarium.web.limit import PREMIUM, STANDARD, Tier


@pytest.mark.parametrize(("settings", "refuse", "tier"), [
    ({}, False, STANDARD),
    ({"host": "0.0.0.0"}, True, STANDARD),
    ({"host": "0.0.0.0", "rate_limit": "off"}, False, STANDARD),
    ({"trusted_proxies": "127.0.0.1"}, True, STANDARD),
    ({"rate_limit": "standard"}, True, STANDARD),
    ({"rate_limit": "premium"}, True, PREMIUM),
    ({"rate_limit_requests": 7}, True, Tier(7, 100)),
    ({"rate_limit_burst": 7, "rate_limit_window_s": 10}, True, Tier(1000, 7, 10)),
    ({"rate_limit_requests": 7, "rate_limit": "off"}, False, Tier(7, 100)),
])  # fmt: skip
def test_the_settings(settings: dict[str, Any], refuse: bool, tier: Tier) -> None:
    limits = limits_of(Settings(**settings))
    assert (limits.refuse, limits.tier) == (refuse, tier)


@pytest.mark.parametrize(("env", "rate_limit", "requests"), [
    ({"RATELIMIT_ENABLED": "true"}, "standard", 0),
    ({"RATELIMIT_ENABLED": "False", "RATELIMIT_REQUESTS": "9"}, "off", 9),
    ({"RATELIMIT_REQUESTS": "9", "RATELIMIT_WINDOW_SECONDS": "10", "RATELIMIT_BURST": "3"}, "auto", 9),
    ({"RATELIMIT_REQUESTS": "9", "ASTRARIUM_RATE_LIMIT_REQUESTS": "8"}, "auto", 8),
])  # fmt: skip
def test_the_variables(tmp_path: Path, env: dict[str, str], rate_limit: str, requests: int) -> None:
    settings = load_settings({}, env, tmp_path)
    assert (settings.rate_limit, settings.rate_limit_requests) == (rate_limit, requests)


@pytest.mark.parametrize(("env", "name", "value"), [
    ({"DAGU_AUTH_TOKEN_TTL": "1h30m"}, "session_s", 5_400),
    ({"DAGU_AUTH_TOKEN_TTL": "90s", "ASTRARIUM_SESSION_S": "70"}, "session_s", 70),
    ({"STARGRAPH_PROFILE": "oss-default"}, "server_profile", "default"),
])  # fmt: skip
def test_the_variables_of_others(tmp_path: Path, env: dict[str, str], name: str, value: Any) -> None:
    assert getattr(load_settings({}, env, tmp_path), name) == value


@pytest.mark.parametrize(("env", "told"), [
    ({"DAGU_AUTH_TOKEN_TTL": "soon"}, "session_s = 'soon': must be a whole number"),
    ({"STARGRAPH_PROFILE": "secret"}, "must be one of default, cleared"),
    ({"STARGRAPH_PROFILE": "cleared"}, "no request may be answered without a sign-in"),
])  # fmt: skip
def test_what_they_may_not_say(tmp_path: Path, env: dict[str, str], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        load_settings({}, env, tmp_path)
    assert told in refused.value.problems[0].message


def test_a_page_of_any_origin_only_with_a_sign_in(tmp_path: Path) -> None:
    every = {"cors_origins": "*"}
    assert load_settings(every | {"auth": "builtin"}, {}, tmp_path).cors_origins == "*"
    with pytest.raises(Invalid) as refused:
        load_settings(every, {}, tmp_path)
    assert "any web page" in refused.value.problems[0].message
