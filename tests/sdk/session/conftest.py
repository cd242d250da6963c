"""A registry on loopback, and clients of it with a home of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from astrarium.config import ClientConfig, load_config
from astrarium.config.home import Credential, Home
from astrarium.config.profile import put_entry
from tests.sdk.registry import Registry, serving

USER = "ada@example.com"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, registry: Registry) -> Home:
    """A home that knows the registry as `central`, and a profile that works in team/dev there."""
    home = Home(tmp_path)
    put_entry(home, "registry", "central", {"url": registry.url})
    put_entry(home, "profile", "dev", {"registry": "central", "user": USER, "workspace": "team", "environment": "dev"})
    put_entry(home, "default", "", {"profile": "dev"})
    return home


@pytest.fixture
def signed_in(home: Home, registry: Registry) -> Home:
    """The same with a sign-in whose refresh token is good."""
    registry.refresh_tokens.add("refresh-0")
    kept = Credential(
        registry_url=registry.url, token_endpoint=registry.url + "/token", client_id="cli", refresh_token="refresh-0"
    )
    home.keep_credential("central", USER, kept)
    return home


Configured = Callable[..., ClientConfig]


@pytest.fixture
def configured(home: Home) -> Configured:
    """The configuration of that home; arguments as for `load_config`."""

    def config(**more: Any) -> ClientConfig:
        return load_config(**{"env": {}, "cwd": home.folder, "home": home.folder, **more})

    return config


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits are noted, not waited."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited
