"""`astrarium auth login` with a browser, at a provider, for a real server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.issuer import Issuer, open_issuer
from tests.specs.cli.room import Room
from tests.specs.oidc.test_provider import SETTINGS, Certified, certified, installed

__all__ = ["certified", "installed"]

WALK = """
import re, sys
from html import unescape
from urllib.parse import urljoin
import httpx2
from tests.specs.oidc.test_provider import FORM, HIDDEN

with httpx2.Client(timeout=30, follow_redirects=True) as browser:
    answer = browser.get(sys.argv[1])
    while "/callback" not in answer.url.path:
        form = FORM.search(answer.text)
        fields = dict(HIDDEN.findall(form[2])) | {"login": "ben", "password": "any"}
        answer = browser.post(urljoin(str(answer.url), unescape(form[1])), data=fields)
    assert answer.status_code == 200
"""


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with open_issuer() as made:
        yield made


def settings(room: Room, issuer: str, **more: str) -> None:
    given = {"auth": "oidc", "oidc_issuer": issuer, "egress_allow": "127.0.0.1", **more}
    room.env |= {f"ASTRARIUM_{name.upper()}": value for name, value in given.items()}


def asked(room: Room, *words: str) -> Any:
    return json.loads(room.ok(*words, "--json"))


@pytest.mark.slow
def test_a_browser_signs_in(room: Room, issuer: Issuer) -> None:
    settings(room, issuer.url)
    with room.server() as server:
        done = asked(room, "auth", "login", "-u", server["url"], "--port", "0")
        assert (done["user"], done["registry"], done["environment"]) == ("anna@example.com", "local", "local")
        assert asked(room, "auth", "status")["valid"] is True
        assert [one["slug"] for one in asked(room, "config", "list", "environments")] == ["local"]


@pytest.mark.all
@pytest.mark.net
def test_a_certified_provider_signs_in_and_renews(room: Room, certified: Certified) -> None:
    settings(room, certified.url, **SETTINGS)
    room.env["BROWSER"] = f"{sys.executable} {room.write('walk.py', WALK)} %s"
    room.env["PYTHONPATH"] = str(__file__).removesuffix("tests/specs/client/test_oidc.py")
    with room.server() as server:
        done = asked(room, "auth", "login", "-u", server["url"], "--port", "0")
        assert done["user"] == "ben@example.com"
        (file,) = (room.folder / "home" / ".astrarium" / "credentials").iterdir()
        before = json.loads(file.read_text())["refresh_token"]
        for _ in range(2):
            assert asked(room, "auth", "refresh")["credential"] == "user"
        assert asked(room, "auth", "status")["valid"] is True
        assert json.loads(file.read_text())["refresh_token"] != before
