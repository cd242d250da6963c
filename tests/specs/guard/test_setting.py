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


def test_a_page_of_any_origin_only_with_a_sign_in(tmp_path: Path) -> None:
    every = {"cors_origins": "*"}
    assert load_settings(every | {"auth": "builtin"}, {}, tmp_path).cors_origins == "*"
    with pytest.raises(Invalid) as refused:
        load_settings(every, {}, tmp_path)
    assert "any web page" in refused.value.problems[0].message
