"""Registries, profiles, target roots and environments, and what `config show` says of them."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrarium.config import CLIENT_MEANINGS, MEANINGS
from tests.cli.command import Ran, move_in
from tests.conftest import ROOT
from tests.sdk.registry import DEV, KEY, PROD, TEAM, Registry, serving


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as found:
        found.auth_mode = "none"
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return move_in(tmp_path, monkeypatch)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Ran:
    return Ran(capsys)


@pytest.fixture
def known(run: Ran, registry: Registry) -> Registry:
    """The registry is known as `central`, and team/dev is the usual place."""
    run("config", "registry", "add", "central", "--url", registry.url)
    run("config", "profile", "add", "dev", "--registry", "central", "-w", "team", "-e", "dev")
    return registry


def test_the_line_of_the_documentation_makes_a_profile(run: Ran) -> None:
    """Seed 001: with --organization given, --workspace means the environment."""
    words = ("config", "profile", "add", "prod", "--registry", "central", "--organization", "my-org", "--workspace", "production")
    run(*words, code=1)
    assert "there is no registry 'central'" in run.err
    assert "astrarium config registry add central --url" in run.err
    run("config", "registry", "add", "central", "--url", "https://central.example")
    assert run(*words) == "profile prod: my-org/production at central, now the usual one\n"
    (shown,) = run.json("config", "profile", "list")
    assert (shown["active"], shown["workspace"], shown["environment"]) == (True, "my-org", "production")
    run("config", "profile", "add", "x", "-r", "central", "-o", "a", "-w", "b", "-e", "c", code=2)
    assert "one too many" in run.err


def test_profiles_are_used_listed_and_removed(run: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "registry", "add", "central", "--url", "https://central.example")
    for name in ("a", "b"):
        run("config", "profile", "add", name, "-r", "central", "-u", "ada@example.com", "-w", name, "-e", "dev")
    assert [line.split("\t")[:3] for line in run("config", "profile", "list").splitlines()] == [
        ["*", "a", "central"],
        ["", "b", "central"],
    ]
    run("config", "profile", "add", "c", "-r", "central", "--default")
    assert [one["name"] for one in run.json("config", "profile", "list") if one["active"]] == ["c"]
    assert run.json("config", "profile", "list")[2]["user"] == "ada@example.com"  # the only one there is
    monkeypatch.setenv("STARDAG_PROFILE", "b")
    assert [one["name"] for one in run.json("config", "profile", "list") if one["active"]] == ["b"]
    monkeypatch.delenv("STARDAG_PROFILE")
    assert run("config", "profile", "use", "b") == "profile b: b/dev at central as ada@example.com, now the usual one\n"
    assert run("config", "profile", "remove", "b") == "removed b; no profile is the usual one now\n"
    run("config", "profile", "use", "b", code=1)
    run("config", "profile", "remove", "b", code=1)
    assert "there is no profile 'b'" in run.err
    assert run("config", "show", "profile") == "profile\t\tdefault\n"


def test_registries_are_added_moved_and_removed(run: Ran, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("config", "registry", "list") == ""
    assert run("config", "registry", "add", "a", "--url", "https://a.example/") == "registry a: https://a.example\n"
    assert run("config", "registry", "add", "a", "-u", "https://b.example") == (
        "registry a: https://b.example (was https://a.example)\n"
    )
    run("config", "registry", "add", "a", "--url", "a.example", code=2)
    run("config", "registry", "add", "a b", "--url", "https://a.example", code=2)
    run("config", "profile", "add", "p", "-r", "a")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    run("config", "registry", "remove", "a", code=2)
    assert "say so with --force" in run.err
    assert run("config", "registry", "remove", "a", "--force") == "removed a and the profiles p\n"
    assert run.json("config", "registry", "list") == []
    theirs = home / ".stardag" / "config.toml"
    theirs.parent.mkdir()
    theirs.write_text('[registry.old]\nurl = "https://old.example"\n')
    assert run("config", "registry", "list") == f"old\thttps://old.example\t{theirs}\n"
    run("config", "registry", "remove", "old", code=1)
    assert "change that file" in run.err
    assert not (home / ".astrarium" / "credentials").exists()


def test_show_has_the_values_of_client_and_server_with_their_sources(
    run: Ran, known: Registry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASTRARIUM_PORT", "9000")
    monkeypatch.setenv("STARDAG_API_KEY", KEY)
    monkeypatch.setenv("ASTRARIUM_API_TIMEOUT", "5")
    rows = {row["name"]: row for row in run.json("config", "show")}
    assert list(rows) == [*CLIENT_MEANINGS, *MEANINGS]
    file = str(home / ".astrarium" / "config.toml")
    assert {name: (rows[name]["value"], rows[name]["source"], rows[name]["of"]) for name in (
        "registry_url", "workspace", "api_key", "timeout_s", "no_registry", "port"
    )} == {
        "registry_url": (known.url, file, "client"), "workspace": ("team", file, "client"),
        "api_key": ("sk_000000…", "STARDAG_API_KEY", "client"), "timeout_s": (5.0, "ASTRARIUM_API_TIMEOUT", "client"),
        "no_registry": (False, "default", "client"), "port": (9000, "ASTRARIUM_PORT", "server"),
    }  # fmt: skip
    assert run("config", "show", "workspace") == f"workspace\tteam\t{file}\n"
    assert run("config").splitlines()[-1].startswith("synchronous\t")
    run("config", "show", "prot", code=2)
    assert "there is no setting `prot`" in run.err


def test_show_shows_the_server_also_when_the_client_is_wrong(run: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRARIUM_PROFILE", "nowhere")
    out = run("config", "show", code=1)
    assert "port\t8080\tdefault\n" in out
    assert "there is no profile 'nowhere'" in run.err


def test_lists_ask_the_server(run: Ran, known: Registry) -> None:
    assert run("config", "list", "workspaces") == f"team\tTeam\towner\t{TEAM}\n"
    assert run("config", "list", "environments") == f"dev\tDev\t{DEV}\nprod\tProd\t{PROD}\n"
    assert [one["slug"] for one in run.json("environment", "list", "-w", TEAM)] == ["dev", "prod"]
    run("config", "list", "environments", "-w", "other", code=1)
    assert "Workspace not found: 'other'" in run.err
    run("config", "list", "environments", "-p", "other", code=1)


def test_target_roots_are_taken_over_and_listed_without_the_server(run: Ran, known: Registry, home: Path) -> None:
    assert run("config", "target-roots", "sync").startswith("default\t/dev-data\t")
    known.seen.clear()
    listed = run.json("config", "target-roots", "list")
    assert listed == {
        "target_roots": {"default": "/dev-data"}, "source": str(home / ".astrarium" / "target-root-cache.json")
    }  # fmt: skip
    assert known.seen == []
    assert run.json("config", "target-roots", "sync", "-e", "prod")["target_roots"] == {"default": "s3://prod"}
    assert run.json("config", "target-roots", "list")["target_roots"] == {"default": "/dev-data"}


def test_target_roots_of_an_api_key(run: Ran, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRARIUM_REGISTRY_URL", registry.url)
    monkeypatch.setenv("ASTRARIUM_API_KEY", KEY)
    run("config", "target-roots", "sync")
    assert run.json("config", "target-roots", "list")["target_roots"] == {"default": "/dev-data"}


def test_environments_are_made_and_deleted(run: Ran, known: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run.json("environment", "create", "Staging area", "-d", "before prod", "-t", "default=s3://b/stage", "-t", "x=/x")
    assert (made["slug"], made["description"], made["target_roots"]) == (
        "staging-area", "before prod", {"default": "s3://b/stage", "x": "/x"}
    )  # fmt: skip
    assert known.roots[made["id"]] == {"default": "s3://b/stage", "x": "/x"}
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    run("environment", "delete", "staging-area", code=2)
    assert run("environment", "delete", "staging-area", "--force") == "deleted staging-area\n"
    run("environment", "delete", "staging-area", "--force", code=1)
    assert "Environment not found: 'staging-area'; known are dev, prod" in run.err
    run("environment", "create", "X", "-t", "default", code=2)
    assert "'default' is not NAME=URI" in run.err


def test_target_roots_of_an_environment(run: Ran, known: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("environment", "target-roots")
    assert run.json(*words, "list", "-e", "prod") == [{"id": "default", "name": "default", "uri_prefix": "s3://prod"}]
    assert run.json(*words, "add", "data", "s3://data")["target_roots"] == {"default": "/dev-data", "data": "s3://data"}
    assert run.json("config", "target-roots", "list")["target_roots"]["data"] == "s3://data"
    run(*words, "remove", "nothing", "-f", code=1)
    assert run(*words, "remove", "data", "-f") == "default\t/dev-data\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    run(*words, "set", "default=/new", "more=/more", code=2)
    assert known.roots[DEV] == {"default": "/dev-data"}
    assert run(*words, "set", "default=/new", "more=/more", "-f") == "default\t/new\nmore\t/more\n"
    assert run(*words, "set", "-j", '{"default": "/new"}', "-f", "-e", "dev") == "default\t/new\n"
    assert known.roots[DEV] == {"default": "/new"}
    run(*words, "set", code=2)
    run(*words, "set", "-j", "[]", code=2)
    assert "must be an object" in run.err


def test_a_server_that_is_not_there_is_told_at_once(run: Ran) -> None:
    run("config", "registry", "add", "gone", "--url", "http://127.0.0.1:9")
    run("config", "list", "workspaces", "-r", "gone", code=1)
    assert "the registry at http://127.0.0.1:9 does not answer" in run.err


def test_without_a_registry_the_way_to_one_is_told(run: Ran) -> None:
    run("config", "target-roots", "sync", code=1)
    assert run.err.startswith("astrarium: no registry is configured\n  hint: sign in with `astrarium auth login")
    assert run("config", "target-roots", "list").startswith("default\t")


def test_these_commands_start_light() -> None:
    heavy = "fastapi sqlalchemy pydantic httpx2 asyncpg starlette jwt".split()
    loads = "import sys, astrarium.cli.auth, astrarium.cli.config, astrarium.cli.environment"
    code = f"{loads}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("words", [
    "auth login", "auth logout", "auth status", "auth refresh", "config show", "config registry add", "config registry list",
    "config registry remove", "config profile add", "config profile use", "config profile list", "config profile remove",
    "config target-roots sync", "config target-roots list", "config list workspaces", "config list environments",
    "environment list", "environment create", "environment delete", "environment target-roots list",
    "environment target-roots add", "environment target-roots remove", "environment target-roots set",
])  # fmt: skip
def test_every_command_has_examples_and_json(run: Ran, words: str) -> None:
    out = run(*words.split(), "--help")
    assert f"astrarium {words}" in out
    assert "Examples:" in out
    assert "--json" in out
