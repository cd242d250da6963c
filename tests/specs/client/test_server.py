"""Login, profiles, target roots and environments from the command line, against a real server."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import httpx2
import pytest

from tests.specs.cli.room import ASTRARIUM, Room

pytestmark = [pytest.mark.all, pytest.mark.slow]
PASSWORD = "correct-horse"


def login(room: Room, *words: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ASTRARIUM, "auth", "login", *words, "--password-stdin"], cwd=room.folder, env=room.env, input=password + "\n",
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def asked(room: Room, *words: str) -> Any:
    return json.loads(room.ok(*words, "--json"))


def test_every_line_of_the_guide_to_a_registry(room: Room) -> None:
    """Seed 001, line by line, against a server where people sign in with a password."""
    with room.server("--auth", "builtin") as server:
        token, url = server["token"], server["url"]
        body = {"username": "ada@example.com", "password": PASSWORD, "role": "operator"}
        made = httpx2.post(f"{url}/api/v2/users", json=body, headers={"Authorization": f"Bearer {token}"})
        assert made.status_code == 201, made.text
        refused = login(room, "-u", url, "--user", "ada@example.com", password="wrong-horse")
        assert refused.returncode == 1
        assert refused.stderr.startswith("astrarium: Authentication failed: ")

        room.ok("config", "registry", "add", "central", "--url", url)
        done = login(room, "-r", "central", "--user", "ada@example.com")
        assert done.returncode == 0, done.stderr
        headers = {"Authorization": f"Bearer {_session_token(room)}"}
        team = {
            "name": "My Org",
            "slug": "my-org",
            "initial_environment_name": "Production",
            "initial_environment_slug": "production",
        }
        assert httpx2.post(f"{url}/api/v1/workspaces", json=team, headers=headers).status_code == 201

        line = "config profile add prod --registry central --organization my-org --workspace production"
        assert room.ok(*line.split()) == "profile prod: my-org/production at central as ada@example.com\n"
        room.env["STARDAG_PROFILE"] = "prod"
        shown = {row["name"]: row["value"] for row in asked(room, "config", "show")}
        assert (shown["profile"], shown["workspace"], shown["environment"]) == ("prod", "my-org", "production")
        room.ok("environment", "target-roots", "add", "default", "s3://bucket/prod")
        assert asked(room, "config", "target-roots", "sync")["target_roots"] == {"default": "s3://bucket/prod"}
        assert [one["slug"] for one in asked(room, "config", "list", "workspaces")] == ["personal", "my-org"]
        assert [one["slug"] for one in asked(room, "config", "list", "environments")] == ["production"]
        status = asked(room, "auth", "status")
        assert (status["valid"], status["user"], status["workspace"]) == (True, "ada@example.com", "my-org")
        assert asked(room, "auth", "refresh")["target_roots"] == {"default": "s3://bucket/prod"}

        assert room.ok("environment", "create", "Staging").startswith("environment staging: ")
        assert room.ok("environment", "delete", "staging", "--force") == "deleted staging\n"
        last = room.call("environment", "delete", "production", "--force")
        assert (last.returncode, "Cannot delete the last environment" in last.stderr) == (1, True)
        wrong = room.call("config", "list", "environments", "-w", "nothing")
        assert wrong.returncode == 1
        assert wrong.stderr.startswith("astrarium: Workspace not found: 'nothing'")
        assert "astrarium config show" in wrong.stderr

        headers = {"Authorization": f"Bearer {_session_token(room)}"}
        assert httpx2.get(f"{url}/api/v1/me", headers=headers).status_code == 200
        assert room.ok("auth", "logout") == "signed out\n"
        assert "ended" in httpx2.get(f"{url}/api/v1/me", headers=headers).json()["detail"]
        gone = room.call("config", "list", "workspaces")
        assert gone.returncode == 1
        assert gone.stderr.startswith("astrarium: Authentication failed: ")
        assert "astrarium auth login" in gone.stderr
    assert asked(room, "config", "target-roots", "list")["target_roots"] == {"default": "s3://bucket/prod"}, "without the server"
    assert not (room.folder / "home" / ".stardag").exists()


def _session_token(room: Room) -> str:
    (file,) = (room.folder / "home" / ".astrarium" / "credentials").iterdir()
    return str(json.loads(file.read_text())["session_token"])


def test_an_api_key_from_the_environment_needs_nothing_else(room: Room) -> None:
    with room.server() as server:
        url = server["url"]
        me = httpx2.get(f"{url}/api/v1/me").json()
        path = f"{url}/api/v1/workspaces/{me['workspaces'][0]['id']}/environments"
        environment = httpx2.get(path).json()[0]["id"]
        key = httpx2.post(f"{path}/{environment}/api-keys", json={"name": "ci"}).json()["key"]
        room.env |= {"STARDAG_API_KEY": key, "STARDAG_REGISTRY_URL": url}
        assert asked(room, "auth", "status")["valid"] is True
        roots = asked(room, "config", "target-roots", "sync")["target_roots"]
        assert roots == {"default": "~/.astrarium/local-target-roots/default"}
        assert key not in room.ok("config", "show", "--json")
        room.env["ASTRARIUM_API_KEY"] = key[:-1] + ("x" if key[-1] != "x" else "y")
        refused = room.call("config", "target-roots", "sync")
        assert refused.returncode == 1
        assert refused.stderr.startswith("astrarium: Authentication failed: ")


def test_a_server_without_sign_in_is_found_on_this_machine(room: Room) -> None:
    with room.server() as server:
        assert room.ok("auth", "login").splitlines()[:2] == [
            f"{server['url']} needs no sign-in", "profile local-personal-local: personal/local, now the usual one"
        ]  # fmt: skip
        assert asked(room, "auth", "status")["credential"] == "none"
        assert [one["slug"] for one in asked(room, "environment", "list")] == ["local"]
    silent = room.call("environment", "list")
    assert silent.returncode == 1
    assert "does not answer" in silent.stderr
    assert os.listdir(room.folder / "home") == [".astrarium"]
