"""One server asked for another: `remoteNode` on real servers, and that no credential shows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.specs.cli.room import ASTRARIUM
from tests.specs.hard.conftest import Served, make_room, serving

pytestmark = pytest.mark.net

ECHO = "steps:\n  - name: a\n    command: echo a\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """(asked, other): the first knows the second as `east`, by its local token; `west` is nowhere."""
    with serving(make_room(tmp_path_factory.mktemp("east"))) as other:
        nodes = {
            "east": {"url": f"{other.url}/api/v2", "token": other.token},
            "west": {"url": "http://127.0.0.1:9/api/v2", "username": "anna", "password": "s3cret-west"},
        }
        room = make_room(tmp_path_factory.mktemp("asked"), ASTRARIUM_REMOTE_NODES=json.dumps(nodes))
        with serving(room) as asked:
            yield asked, other


def test_dags_and_runs_of_the_other(pair: tuple[Served, Served]) -> None:
    asked, other = pair
    other.add("far.yaml", ECHO)
    asked.add("near.yaml", ECHO)
    assert [one["fileName"] for one in asked.get("/dags", remoteNode="east")["dags"]] == ["far.yaml"]
    assert [one["fileName"] for one in asked.get("/dags", remoteNode="local")["dags"]] == ["near.yaml"]
    assert [one["fileName"] for one in asked.get("/dags", remoteNode="")["dags"]] == ["near.yaml"]
    answer = asked.call("POST", "/dags/far/start", {"dagRunId": "one"}, remoteNode="east")
    assert answer.json() == {"dagRunId": "one"}
    assert other.ended("one", "far")["status"] == 4
    assert asked.get("/dag-runs/far/one/steps/a/log", remoteNode="east")["content"] == "a"
    missing = asked.call("GET", "/dag-runs/far/one")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    refused = asked.call("GET", "/dags/nowhere", remoteNode="east")
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


def test_nodes_that_are_unknown_or_away(pair: tuple[Served, Served]) -> None:
    asked, _ = pair
    assert asked.refused(asked.call("GET", "/dags", remoteNode="mars"), 400)["code"] == "bad_request"
    away = asked.call("GET", "/dags", remoteNode="west")
    assert asked.refused(away, 502)["code"] == "remote_node_error"
    assert "s3cret-west" not in away.text


def test_what_is_open_to_everybody_is_not_passed_on(pair: tuple[Served, Served]) -> None:
    asked, _ = pair
    assert asked.refused(asked.call("GET", "/health", remoteNode="east"), 400)["code"] == "bad_request"
    assert asked.get("/health", remoteNode="local")["status"] == "healthy"


def test_the_settings_show_no_credential(tmp_path: Path) -> None:
    nodes = {"east": {"url": "http://127.0.0.1:9/api/v2", "token": "s3cret-token", "password": "s3cret-pass"}}
    room = make_room(tmp_path, ASTRARIUM_REMOTE_NODES=json.dumps(nodes))

    def show(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*ASTRARIUM, "config", "show", *words]
        return subprocess.run(command, env=room.env, cwd=tmp_path, capture_output=True, text=True, check=False)

    for words in ([], ["--json"]):
        told = show(*words)
        assert "http://127.0.0.1:9/api/v2" in told.stdout
        assert "s3cret" not in told.stdout
    room.env["ASTRARIUM_REMOTE_NODES"] = '{"east": {"token": "s3cret-token"}}'
    told = show()
    assert told.returncode != 0
    assert "remote_nodes" in told.stderr
    assert "s3cret" not in told.stderr
