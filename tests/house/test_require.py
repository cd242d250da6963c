"""A missing service is a skip that says why, or a failure where the service is required."""

from __future__ import annotations

import pytest

from tests.conftest import Require


def test_an_available_service_goes_on(require: Require) -> None:
    require("postgres", True, "never shown")


def test_a_missing_service_skips_and_says_why(require: Require, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRARIUM_REQUIRE", "net")
    with pytest.raises(pytest.skip.Exception, match="postgres: it is not there"):
        require("postgres", False, "it is not there")


def test_a_required_service_fails(require: Require, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRARIUM_REQUIRE", "net, postgres")
    with pytest.raises(pytest.fail.Exception, match=r"is required .* it is not there"):
        require("postgres", False, "it is not there")
