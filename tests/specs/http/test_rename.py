"""Renaming DAG files over HTTP: what goes along, and what refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.net

ECHO = "steps:\n  - name: a\n    command: echo a\n"


def rename(server: Any, name: str, new: str) -> tuple[int, Any]:
    answer = server.call("POST", f"/dags/{name}/rename", {"newFileName": new})
    return answer.status_code, answer.json()


def test_runs_go_along_with_a_file_that_names_no_dag(server: Any) -> None:
    server.add("before.yaml", f"# kept\n{ECHO}")
    for run in ("one", "two"):
        server.start("before", dagRunId=run)
        server.ended("before", run)
    assert rename(server, "before.yaml", "after") == (200, {})
    assert server.call("GET", "/dags/before").status_code == 404
    assert server.get("/dags/after/spec")["spec"] == f"# kept\n{ECHO}"
    assert (server.dags / "after.yaml").exists()
    assert [run["name"] for run in server.get("/dags/after/dag-runs")["dagRuns"]] == ["after", "after"]
    assert server.get("/dags/after.yaml")["latestDAGRun"]["dagRunId"] == "two"
    assert server.get("/dag-runs/before")["dagRuns"] == []
    assert server.run("after", "one")["nodes"][0]["status"] == 4
    assert server.get("/dag-runs/after/one/steps/a/log")["content"] == "a"
    assert [run["dagRunId"] for run in server.get("/dag-runs/after.yaml")["dagRuns"]] == ["two", "one"]
    assert server.get("/dag-runs/after.yaml/one")["dagRunDetails"]["dagRunId"] == "one"
    taken = server.call("POST", "/dags/after/start", {"dagRunId": "one"})
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    assert server.call("POST", "/dag-runs/after/one/retry", {"dagRunId": "one"}).status_code == 200
    assert server.ended("after", "one")["name"] == "after"


def test_a_name_in_the_text_stays(server: Any) -> None:
    server.add("file-a.yaml", f"name: same\n{ECHO}")
    server.start("file-a", dagRunId="one")
    server.ended("same", "one")
    assert rename(server, "same", "file-b.yml") == (200, {})
    assert (server.dags / "file-b.yml").exists()
    found = server.get("/dags/file-b")
    assert found["dag"]["name"] == "same"
    assert found["latestDAGRun"]["dagRunId"] == "one"


def test_a_file_stays_in_its_folder_and_a_broken_one_can_be_renamed(server: Any) -> None:
    (server.dags / "deep").mkdir()
    (server.dags / "deep" / "low.yaml").write_text("steps:\n  - command: x\n    nam: y\n")
    assert rename(server, "low", "lower") == (200, {})
    assert [path.name for path in (server.dags / "deep").iterdir()] == ["lower.yaml"]
    assert server.get("/dags/lower")["errors"]


def test_suspension_and_webhook_go_along(server: Any) -> None:
    server.add("hooked.yaml", f"schedule: '0 5 * * *'\n{ECHO}")
    assert server.call("POST", "/dags/hooked/suspend", {"suspend": True}).status_code == 200
    made = server.call("POST", "/dags/hooked/webhook")
    assert rename(server, "hooked", "unhooked") == (200, {})
    assert server.get("/dags/unhooked")["suspended"] is True
    server.add("hooked.yaml", f"schedule: '0 5 * * *'\n{ECHO}")
    assert server.get("/dags/hooked")["suspended"] is False, "a later file of the old name"
    assert made.status_code == 201, made.text
    assert server.get("/dags/unhooked/webhook")["dagName"] == "unhooked"


def test_the_name_that_is_free_again_begins_without_history(server: Any) -> None:
    server.add("first.yaml", ECHO)
    server.start("first", dagRunId="one")
    server.ended("first", "one")
    assert rename(server, "first", "second") == (200, {})
    server.add("first.yaml", ECHO)
    assert server.get("/dags/first")["latestDAGRun"]["status"] == 0
    assert server.start("first", dagRunId="one") == "one"
    assert server.ended("first", "one")["status"] == 4
    assert [run["dagRunId"] for run in server.get("/dag-runs/second")["dagRuns"]] == ["one"]


def test_a_rename_survives_a_restart(start_server: Callable[..., Any]) -> None:
    server = start_server()
    server.add("old.yaml", ECHO)
    server.start("old", dagRunId="one")
    server.ended("old", "one")
    assert rename(server, "old", "new") == (200, {})
    server.signal()
    again = start_server()
    assert again.run("new", "one")["name"] == "new"
    assert again.get("/dag-runs/old")["dagRuns"] == []
