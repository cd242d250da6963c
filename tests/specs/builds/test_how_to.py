"""Seed 001, "Use the API Registry": its programs and commands with our names, against a real server. (`tests/specs/client` has its
sign-in and its profile commands line by line.)"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.served import Server
from tests.specs.cli.room import Room

pytestmark = [pytest.mark.all, pytest.mark.slow]

TASKS = """
import astrarium as ar
from astrarium import APIRegistry
from astrarium.config import load_config

@ar.task
def fetch_data(source: str) -> dict:
    # ...
    pass

@ar.task
def process(data: ar.Depends[dict]) -> list:
    # ...
    pass

task = process(data=fetch_data(source="production"))
"""
BASIC = (
    TASKS
    + """
# Create registry instance
registry = APIRegistry()

# Build with registry tracking
print(ar.build(task, registry=registry))
"""
)
BY_CONFIGURATION = (
    TASKS
    + """
# Load configuration from profile/environment
config = load_config()
print(config.profile, config.workspace, config.environment)
registry = APIRegistry()
print(ar.build(task, registry=registry))
"""
)
BY_HAND = (
    TASKS
    + """
import sys
registry = APIRegistry(api_url=sys.argv[1], workspace_id=sys.argv[2], api_key=sys.argv[3])
print(ar.build(task, registry=registry))
"""
)
READING = (
    TASKS
    + """
print(task.complete(), task.load(), task.target().uri)
"""
)
MADE, FOUND = "build success: 2 made, 0 made before of 2 tasks\n", "build success: 0 made, 1 made before of 1 tasks\n"


class Place(Room):
    """A room with a server, an environment of its own there, and a key for that."""

    def prepare(self, url: str) -> None:
        self.url = url
        me = httpx2.get(f"{self.url}/api/v1/me").json()
        self.workspace = me["workspaces"][0]["id"]
        path = f"{self.url}/api/v1/workspaces/{self.workspace}/environments"
        self.slug = f"e-{next(NUMBER)}"
        self.environment = httpx2.post(path, json={"name": self.slug, "slug": self.slug}).json()["id"]
        self.key = httpx2.post(f"{path}/{self.environment}/api-keys", json={"name": "ci"}).json()["key"]
        self.roots = f"{path}/{self.environment}/target-roots"
        made = httpx2.post(self.roots, json={"name": "default", "uri_prefix": f"{self.folder}/results"})
        assert made.status_code == 201, made.text

    def program(self, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        script = self.write("program.py", text)
        return subprocess.run(
            [sys.executable, script, *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    def said(self, text: str, *arguments: str) -> str:
        done = self.program(text, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def use_key(self, prefix: str = "STARDAG") -> None:
        self.env |= {f"{prefix}_API_KEY": self.key, f"{prefix}_REGISTRY_URL": self.url}

    def builds(self) -> list[str]:
        answer = httpx2.get(f"{self.url}/api/v1/builds", headers={"X-API-Key": self.key}).json()
        return [one["status"] for one in answer["builds"]]


NUMBER = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    opened = Server(tmp_path_factory.mktemp("how-to") / "data")
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def place(server: Server, tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.env = {name: value for name, value in place.env.items() if not name.startswith("STARDAG_")}
    place.env |= {"HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    place.write("pipeline.py", TASKS)
    place.prepare(server.said)
    return place


@pytest.mark.parametrize("prefix", ["STARDAG", "ASTRARIUM"])
def test_authentication_by_variables(place: Place, prefix: str) -> None:
    place.use_key(prefix)
    place.env[f"{prefix}_WORKSPACE_ID"] = place.workspace
    assert place.said(BASIC) == MADE
    assert place.said(BASIC) == FOUND
    assert place.builds() == ["completed", "completed"]
    tasks = json.loads(place.ok("tasks", "list", "--json"))["tasks"]
    assert {one["task_name"]: one["status"] for one in tasks} == {"process": "completed", "fetch_data": "completed"}


def test_configuration_by_a_profile(place: Place) -> None:
    place.ok("config", "registry", "add", "central", "--url", place.url)
    place.ok("auth", "login", "-r", "central", "-w", "personal", "-e", place.slug)
    line = f"config profile add prod --registry central --organization personal --workspace {place.slug}"
    place.ok(*line.split())
    place.env["STARDAG_PROFILE"] = "prod"
    assert place.said(BY_CONFIGURATION) == f"prod personal {place.slug}\n{MADE}"
    del place.env["STARDAG_PROFILE"]
    assert place.ok("build", "pipeline:task", "--profile", "prod").splitlines()[0] == FOUND.strip()
    assert place.builds() == ["completed", "completed"]


def test_configuration_in_the_program(place: Place) -> None:
    assert place.said(BY_HAND, place.url, place.workspace, place.key) == MADE
    assert place.said(BY_HAND, place.url, place.environment, place.key) == FOUND
    assert len(place.builds()) == 2


def test_target_roots_are_the_environments_and_are_read_offline(place: Place) -> None:
    place.use_key()
    (root,) = httpx2.get(place.roots).json()
    shared = f"{place.folder}/shared"
    assert httpx2.patch(f"{place.roots}/{root['id']}", json={"uri_prefix": shared}).status_code == 200
    assert json.loads(place.ok("config", "target-roots", "sync", "--json"))["target_roots"] == {"default": shared}
    assert place.said(BASIC) == MADE
    assert json.loads(place.ok("config", "target-roots", "list", "--json"))["target_roots"] == {"default": shared}
    assert place.said(READING).startswith(f"True None {shared}/")


@pytest.mark.all
def test_what_was_fetched_is_enough_to_read_and_not_to_build(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.env |= {"HOME": str(tmp_path / "home")}
    with place.server() as told:
        place.prepare(told["url"])
        place.use_key("ASTRARIUM")
        assert place.said(BASIC) == MADE
    assert place.said(READING).startswith("True None ")
    refused = place.program(BASIC)
    assert refused.returncode == 1 and "does not answer" in refused.stderr
    assert place.said(BASIC.replace("registry=registry", "registry=registry, on_registry_failure='warn'")) == FOUND


def test_troubleshooting(place: Place) -> None:
    """Each headline of the seed is how our error begins, with the seed's command as the hint."""
    place.use_key("ASTRARIUM")
    place.env["ASTRARIUM_API_KEY"] = place.key[:-1] + ("x" if place.key[-1] != "x" else "y")
    refused = place.program(BASIC)
    assert "Authentication failed" in refused.stderr
    status = place.call("auth", "status")
    assert status.returncode == 1 and status.stderr.startswith("astrarium: Authentication failed")
    told = place.call("build", "pipeline:task")
    assert told.returncode == 1 and told.stderr.startswith("astrarium: Authentication failed"), told.stderr
    assert "astrarium auth login" in told.stderr

    del place.env["ASTRARIUM_API_KEY"]
    place.env |= {"ASTRARIUM_WORKSPACE_ID": "nothing", "ASTRARIUM_ENVIRONMENT_ID": "local"}
    lost = place.call("build", "pipeline:task")
    assert lost.returncode == 1 and lost.stderr.startswith("astrarium: Workspace not found"), lost.stderr
    assert "astrarium config show" in lost.stderr
    del place.env["ASTRARIUM_WORKSPACE_ID"], place.env["ASTRARIUM_ENVIRONMENT_ID"]

    place.env["ASTRARIUM_API_KEY"] = place.key
    assert place.said(BASIC) == MADE
    (root,) = httpx2.get(place.roots).json()
    httpx2.patch(f"{place.roots}/{root['id']}", json={"uri_prefix": f"{place.folder}/elsewhere"})
    differs = place.call("build", "pipeline:task")
    assert differs.returncode == 1 and differs.stderr.startswith("astrarium: Target root mismatch"), differs.stderr
    assert "astrarium config target-roots sync" in differs.stderr
    place.ok("config", "target-roots", "sync")
    assert place.ok("build", "pipeline:fetch_data", "--param", "source=elsewhere").startswith("build success: 1 made")
