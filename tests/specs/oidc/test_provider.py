"""A certified provider (npm `oidc-provider`) signs people in: through a browser, and as a command line does it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx2
import jwt
import pytest

from tests.conftest import Require
from tests.specs.tenancy.conftest import Server

pytestmark = [pytest.mark.all, pytest.mark.net]

PACKAGE = "oidc-provider@9"
OURS = "http://127.0.0.1/api/v1/auth/callback"
CLI = "http://127.0.0.1:8400/callback"
FORM = re.compile(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
HIDDEN = re.compile(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"')
SETTINGS = {
    "oidc_client_secret": "a-secret-of-the-web-pages", "oidc_audience": "astrarium, urn:astrarium:api, another",
}  # fmt: skip


class Certified:
    """The provider's process."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            ["node", "provider.mjs", json.dumps([OURS])], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.url = self._line("http")

    def _line(self, beginning: str) -> str:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith(beginning):
                return line.strip()
        raise AssertionError("the provider ended")

    def rotate(self) -> None:
        """Sign with a new key from now on; the one before stays published."""
        assert self.process.stdin is not None
        self.process.stdin.write("rotate\n")
        self.process.stdin.flush()
        self._line("rotated")

    def key_ids(self) -> list[str]:
        return [key["kid"] for key in httpx2.get(self.url + "/jwks").json()["keys"]]

    def walk(self, url: str, name: str, back: str) -> dict[str, str]:
        """Sign in as a browser: follow redirects and send forms, until the way leads back; its query."""
        with httpx2.Client() as browser:
            answer = browser.get(url)
            for _ in range(20):
                if answer.is_redirect:
                    url = urljoin(url, answer.headers["location"])
                    if url.startswith(back):
                        return {key: one[0] for key, one in parse_qs(urlsplit(url).query).items()}
                    answer = browser.get(url)
                    continue
                assert answer.status_code == 200, answer.text
                form = FORM.search(answer.text)
                assert form, answer.text
                fields = dict(HIDDEN.findall(form[2])) | {"login": name, "password": "any"}
                url = urljoin(url, unescape(form[1]))
                answer = browser.post(url, data=fields)
        raise AssertionError("the sign-in does not end")

    def command_line(self, name: str) -> Any:
        """Tokens as a command line gets them: a public client with PKCE."""
        verifier = "v" * 64
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code", "client_id": "astrarium-cli", "redirect_uri": CLI, "scope": "openid profile email",
            "code_challenge": challenge, "code_challenge_method": "S256", "state": "s",
        }  # fmt: skip
        given = self.walk(f"{self.url}/auth?{urlencode(query)}", name, CLI)
        form = {
            "grant_type": "authorization_code", "code": given["code"], "redirect_uri": CLI, "client_id": "astrarium-cli",
            "code_verifier": verifier,
        }  # fmt: skip
        return httpx2.post(self.url + "/token", data=form).raise_for_status().json()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, require: Require) -> Path:
    """A folder with the provider's package."""
    npm = shutil.which("npm")
    require("oidc", bool(npm and shutil.which("node")), "node or npm is not installed")
    folder = tmp_path_factory.mktemp("oidc")
    shutil.copy(Path(__file__).with_name("provider.mjs"), folder)
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    done = subprocess.run(
        [str(npm), "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE], cwd=folder, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    require("oidc", done.returncode == 0, f"npm cannot install {PACKAGE}: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture
def certified(installed: Path) -> Iterator[Certified]:
    provider = Certified(installed)
    try:
        yield provider
    finally:
        provider.process.terminate()
        provider.process.wait(10)


def test_a_person_signs_in_through_a_browser(serve: Callable[..., Server], certified: Certified) -> None:
    server = serve(certified.url, **SETTINGS)
    begun = server.client.get("/api/v1/auth/login", params={"next": "/ui"}, follow_redirects=False)
    given = certified.walk(begun.headers["location"], "anna", OURS)
    back = server.client.get("/api/v1/auth/callback", params=given, follow_redirects=False)
    assert (back.status_code, back.headers.get("location")) == (303, "/ui"), back.text
    me = server.call("GET", "/me")
    assert me["user"]["email"] == "anna@example.com" and me["user"]["display_name"] == "Person anna"
    assert [one["slug"] for one in me["workspaces"]] == ["anna"]
    headers = {"sec-fetch-site": "same-origin"}
    body = {"workspace_id": me["workspaces"][0]["id"]}
    token = server.client.post("/api/v1/auth/exchange", json=body, headers=headers).json()["access_token"]
    server.client.cookies.clear()
    assert server.call("GET", "/me", token=token) == me
    again = server.client.get("/api/v1/auth/callback", params=given, follow_redirects=False)
    assert again.status_code == 401, "a code and a state are good once"


def test_a_command_line_signs_in_and_a_rotation_is_survived(serve: Callable[..., Server], certified: Certified) -> None:
    server = serve(certified.url, **SETTINGS)
    ways = server.call("GET", "/auth/config")
    assert ways == {"auth_mode": "oidc", "oidc_issuer": certified.url, "oidc_client_id": "astrarium-cli"}
    tokens = certified.command_line("ben")
    assert jwt.get_unverified_header(tokens["access_token"])["kid"] in certified.key_ids()
    access = tokens["access_token"]
    assert jwt.decode(access, options={"verify_signature": False})["aud"] == "urn:astrarium:api"
    me = server.call("GET", "/ui/me", token=access)
    assert me["user"]["external_id"] == "ben"
    workspace = {"workspace_id": me["workspaces"][0]["id"]}
    token = server.call("POST", "/auth/exchange", workspace, access)["access_token"]
    path = f"/ui/workspaces/{workspace['workspace_id']}/environments"
    [environment] = server.call("GET", path, token=token)
    [root] = server.call("GET", f"/target-roots?environment_id={environment['id']}", token=token)
    assert root["name"] == "default"

    before = certified.key_ids()
    certified.rotate()
    after = certified.key_ids()
    assert len(set(after) - set(before)) == 1
    fresh = certified.command_line("ben")["access_token"]
    assert jwt.get_unverified_header(fresh)["kid"] not in before
    for one in (fresh, access):
        assert server.call("GET", "/ui/me", token=one)["user"] == me["user"]
    server.call("POST", "/auth/exchange", workspace, fresh)
    other = serve(certified.url, **{**SETTINGS, "oidc_audience": "another"})
    assert "Audience" in other.call("GET", "/ui/me", token=fresh, status=401)["detail"]


@pytest.mark.parametrize(("behind_s", "status"), [(0, 200), (20, 200), (600, 401)])
def test_clocks_differ(serve: Callable[..., Server], certified: Certified, behind_s: int, status: int) -> None:
    server = serve(certified.url, **SETTINGS)
    provider = server.app.state.tenancy.provider
    clock = provider._clock

    class Behind:
        def now(self) -> int:
            return int(clock.now()) - behind_s * 1_000_000

    provider._clock = Behind()
    answer = server.call("GET", "/ui/me", token=certified.command_line("carl")["access_token"], status=status)
    assert status == 200 or "compare the clocks" in answer["detail"]
