"""Signing in and out, and what is kept, against a registry on loopback."""

from __future__ import annotations

import http.client
import io
import json
import os
import stat
import threading
import tomllib
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from astrarium.cli import callback
from tests.cli.command import Ran, move_in
from tests.sdk.registry import DEV, PROD, TEAM, Registry, serving


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as found:
        found.environments[TEAM].pop()
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return move_in(tmp_path, monkeypatch)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Ran:
    return Ran(capsys)


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One that follows every redirect; the addresses it was given."""
    opened: list[str] = []

    def open_(url: str) -> bool:
        opened.append(url)
        assert httpx2.get(url, follow_redirects=True).status_code == 200
        return True

    monkeypatch.setattr(webbrowser, "open", open_)
    return opened


def test_a_sign_in_with_the_browser_keeps_what_later_calls_need(
    run: Ran, registry: Registry, browser: list[str], home: Path
) -> None:
    out = run("auth", "login", "--registry-url", registry.url + "/", "--port", "0")
    assert out.splitlines() == [
        f"signed in at {registry.url} as ada@example.com",
        "profile local-ada-team-dev: team/dev, now the usual one",
        "target root default: /dev-data",
    ]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(browser[0]).query).items()}
    assert asked["scope"] == "openid profile email offline_access"
    assert asked["code_challenge_method"] == "S256"
    ours = home / ".astrarium"
    assert tomllib.loads((ours / "config.toml").read_text()) == {
        "registry": {"local": {"url": registry.url}},
        "profile": {
            "local-ada-team-dev": {"registry": "local", "user": "ada@example.com", "workspace": "team", "environment": "dev"}
        },
        "default": {"profile": "local-ada-team-dev"},
    }
    credential = ours / "credentials" / "local__ada_at_example.com.json"
    assert json.loads(credential.read_text()) == {
        "registry_url": registry.url, "token_endpoint": registry.url + "/token", "client_id": "cli", "refresh_token": "refresh-1",
    }  # fmt: skip
    token = ours / "access-token-cache" / f"local__ada_at_example.com__{TEAM}.json"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (credential, token, ours)] == [0o600, 0o600, 0o700]
    assert json.loads((ours / "target-root-cache.json").read_text()) == [
        {"registry_url": registry.url, "workspace_id": TEAM, "environment_id": DEV, "target_roots": {"default": "/dev-data"}}
    ]
    assert json.loads((ours / "id-cache.json").read_text()) == {
        "workspaces": {"local": {"team": TEAM}}, "environments": {"local": {TEAM: {"dev": DEV}}}
    }  # fmt: skip
    assert not (home / ".stardag").exists()


def test_a_second_sign_in_renews_the_same_profile(run: Ran, registry: Registry, browser: list[str], home: Path) -> None:
    run("config", "registry", "add", "central", "--url", registry.url)
    run("config", "profile", "add", "prod", "--registry", "central", "--organization", "team", "--workspace", "dev")
    for _ in range(2):
        assert "profile prod: team/dev" in run("auth", "login", "--port", "0")
    assert "profile mine: team/dev" in run("auth", "login", "--port", "0", "--profile", "mine")
    written = tomllib.loads((home / ".astrarium" / "config.toml").read_text())
    assert sorted(written["profile"]) == ["mine", "prod"]
    assert written["profile"]["prod"]["user"] == "ada@example.com"


def test_without_a_refresh_token_the_sign_in_lasts_as_long_as_its_token(
    run: Ran, registry: Registry, browser: list[str], home: Path
) -> None:
    registry.gives_refresh, registry.opaque = False, True
    run("auth", "login", "-u", registry.url, "--port", "0")
    (credential,) = (home / ".astrarium" / "credentials").iterdir()
    assert json.loads(credential.read_text())["session_token"] in registry.identities
    assert run.json("auth", "status")["valid"] is True


def test_only_the_answer_to_our_own_question_counts(run: Ran, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another page calls the port first, with a state it made up, and a path that is not there."""
    statuses: list[int] = []

    def open_(url: str) -> bool:
        address = urlsplit(parse_qs(urlsplit(url).query)["redirect_uri"][0])
        for path in ("/callback?code=evil&state=guessed", "/callback?code=evil", "/elsewhere"):
            connection = http.client.HTTPConnection("127.0.0.1", address.port or 0)
            connection.request("GET", path)
            statuses.append(connection.getresponse().status)
            connection.close()
        return httpx2.get(url, follow_redirects=True).status_code == 200

    monkeypatch.setattr(webbrowser, "open", open_)
    run("auth", "login", "-u", registry.url, "--port", "0")
    assert statuses == [400, 400, 404]


@pytest.mark.parametrize(("back", "told"), [
    ({"error": "access_denied", "error_description": "not today"}, "the provider says access_denied: not today"),
    ({"code": "code-1", "iss": "https://evil.example"}, "the answer came from another provider, https://evil.example"),
    ({"code": "wrong"}, "refused the code: invalid_grant"),
])  # fmt: skip
def test_what_goes_wrong_at_the_provider_is_told(
    run: Ran, registry: Registry, monkeypatch: pytest.MonkeyPatch, back: dict[str, str], told: str, home: Path
) -> None:
    def open_(url: str) -> bool:
        query = parse_qs(urlsplit(url).query)
        return bool(httpx2.get(query["redirect_uri"][0], params={**back, "state": query["state"][0]}))

    monkeypatch.setattr(webbrowser, "open", open_)
    run("auth", "login", "-u", registry.url, "--port", "0", code=1)
    assert f"Authentication failed: {told}" in run.err.replace(f"{registry.url}/token ", "")
    assert not (home / ".astrarium" / "credentials").exists()


def test_nobody_comes_back(run: Ran, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback, "WAIT_S", 0.05)
    run("auth", "login", "-u", registry.url, "--port", "0", "--no-browser", code=1)
    assert "Open this address in a browser:" in run.err
    assert "nobody came back from the provider" in run.err


def test_a_port_that_is_taken_is_told(run: Ran, registry: Registry) -> None:
    taken = urlsplit(registry.url).port
    run("auth", "login", "-u", registry.url, "--port", str(taken), code=1)
    assert f"port {taken} cannot be listened on" in run.err
    assert "--port" in run.err


def test_a_provider_in_the_clear_is_refused(run: Ran, registry: Registry) -> None:
    run("auth", "login", "-u", registry.url, "--oidc-issuer", "http://id.example", "--client-id", "x", code=1)
    assert "must be reached over https" in run.err


def test_a_sign_in_with_a_password(run: Ran, registry: Registry, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    registry.auth_mode = "local"
    words = ("auth", "login", "-u", registry.url, "--user", "ada@example.com", "--password-stdin")
    monkeypatch.setattr("sys.stdin", io.StringIO("wrong\n"))
    run(*words, code=1)
    assert run.err.startswith("astrarium: Authentication failed: Invalid email or password\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("correct-horse\n"))
    assert run.json(*words) == {
        "profile": "local-ada-team-dev", "registry_url": registry.url, "registry": "local", "user": "ada@example.com",
        "workspace": "team", "environment": "dev", "target_roots": {"default": "/dev-data"},
    }  # fmt: skip
    (credential,) = (home / ".astrarium" / "credentials").iterdir()
    kept = json.loads(credential.read_text())
    assert (kept["auth_mode"], kept["session_token"]) == ("local", "session-1")
    assert kept["session_expires_at"] > 1e9
    assert "correct-horse" not in "".join(path.read_text() for path in (home / ".astrarium").rglob("*.*") if path.is_file())


def test_a_password_is_asked_for_only_where_somebody_can_answer(run: Ran, registry: Registry) -> None:
    registry.auth_mode = "local"
    run("auth", "login", "-u", registry.url, code=2)
    assert "there is nobody to ask for a password" in run.err


@pytest.mark.parametrize(("answers", "environment"), [(["1", "2"], "prod"), (["team", "dev"], "dev")])
def test_somebody_at_a_terminal_is_asked(
    run: Ran, registry: Registry, monkeypatch: pytest.MonkeyPatch, answers: list[str], environment: str
) -> None:
    registry.auth_mode = "local"
    registry.workspaces.append({**registry.workspaces[0], "id": PROD, "slug": "other"})
    registry.environments[TEAM].append(registry.environment(PROD, "prod"))
    said = iter(["ada@example.com", "correct-horse", *answers])
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(said))
    monkeypatch.setattr("sys.stdin", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})())
    assert f"team/{environment}, now the usual one" in run("auth", "login", "-u", registry.url)
    assert "  2  other  (Team)" in run.err
    assert list(said) == []


def test_a_choice_that_is_not_there_is_told(run: Ran, registry: Registry) -> None:
    registry.auth_mode = "none"
    registry.workspaces.append({**registry.workspaces[0], "id": PROD, "slug": "other"})
    run("auth", "login", "-u", registry.url, code=1)
    assert "Workspace not found: none is named, known are team, other\n  hint: choose with --workspace" in run.err
    run("auth", "login", "-u", registry.url, "-w", "third", code=1)
    assert "'third' is none you are a member of; known are team, other" in run.err


def test_a_server_without_sign_in_needs_none(run: Ran, registry: Registry, home: Path) -> None:
    registry.auth_mode = "none"
    out = run("auth", "login", "-u", registry.url)
    assert out.startswith(f"{registry.url} needs no sign-in\nprofile local-team-dev: team/dev")
    assert not (home / ".astrarium" / "credentials").exists()
    assert run.json("auth", "status")["credential"] == "none"


def test_status_tells_whether_the_sign_in_is_valid(run: Ran, registry: Registry, browser: list[str]) -> None:
    run("auth", "login", "-u", registry.url, "--port", "0")
    found = run.json("auth", "status")
    assert (found["user"], found["valid"], found["workspaces"]) == ("ada@example.com", True, "team")
    assert found["token_until"]
    registry.refresh_tokens.clear()
    assert "valid\tTrue" not in run("auth", "status", code=1)
    assert "Authentication failed: the sign-in has ended" in run.err


def test_status_with_an_api_key(run: Ran, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARDAG_REGISTRY_URL", registry.url)
    monkeypatch.setenv("STARDAG_API_KEY", "sk_000000_" + "k" * 32)
    found = run.json("auth", "status")
    assert (found["credential"], found["credential_source"], found["valid"]) == ("API key", "STARDAG_API_KEY", True)
    monkeypatch.setenv("ASTRARIUM_API_KEY", "sk_wrong")
    run("auth", "status", code=1)
    assert "Authentication failed: Invalid API key" in run.err
    assert "sk_wrong" not in run.err


def test_refresh_gets_a_new_token_and_the_roots(run: Ran, registry: Registry, browser: list[str], home: Path) -> None:
    run("auth", "login", "-u", registry.url, "--port", "0")
    (token,) = (home / ".astrarium" / "access-token-cache").iterdir()
    before = token.read_text()
    registry.roots[DEV] = {"default": "s3://new"}
    done = run.json("auth", "refresh")
    assert done["target_roots"] == {"default": "s3://new"}
    assert token.read_text() != before
    run("auth", "logout")
    run("auth", "refresh", code=1)
    assert "is not signed in at" in run.err


def test_logout_forgets_the_sign_in_and_keeps_the_profile(run: Ran, registry: Registry, browser: list[str], home: Path) -> None:
    run("auth", "login", "-u", registry.url, "--port", "0")
    theirs = home / ".stardag" / "credentials" / "local__ada_at_example.com.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("{}")
    assert run("auth", "logout") == "signed out\n"
    assert f"{theirs} was made by Stardag" in run.err
    assert [path for path in (home / ".astrarium").rglob("*") if "__" in path.name] == []
    assert "local-ada-team-dev" in run("config", "profile", "list")
    assert run("auth", "logout", "--all") == "nobody was signed in\n"


def test_login_needs_to_know_the_server(run: Ran) -> None:
    run("auth", "login", code=2)
    assert "no server is named" in run.err


def test_a_project_may_not_give_a_known_name_another_meaning(run: Ran, registry: Registry, home: Path) -> None:
    run("config", "registry", "add", "central", "--url", "https://central.example")
    project = home / "project" / ".astrarium"
    project.mkdir(parents=True)
    (project / "config.toml").write_text(f'[registry.central]\nurl = "{registry.url}"\n')
    os.chdir(project)
    run("auth", "login", "--registry", "central", code=1)
    assert "yours is https://central.example" in run.err
    assert registry.seen == []


def test_threads_of_the_browser_are_gone(run: Ran, registry: Registry, browser: list[str]) -> None:
    run("auth", "login", "-u", registry.url, "--port", "0")
    waiting = [thread for thread in threading.enumerate() if "_open" in thread.name]
    for thread in waiting:
        thread.join(5)
    assert not any(thread.is_alive() for thread in waiting)
