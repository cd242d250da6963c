"""Moving in: a home of Dagu 1.x, laid out as its contract says, becomes ours."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.specs.cli.room import Room

pytestmark = [pytest.mark.all, pytest.mark.net]
REPORT = (
    "name: report\nschedule: '0 3 * * *'\nparams: DAY=none\nsteps:\n  - name: fetch\n    command: echo rows $DAY\n    output: ROWS\n"
    "  - name: send\n    command: test -e ok\n"
)
PARENT = "steps:\n  - name: each\n    call: report\n    params: DAY=monday\n"
CONFIG = (
    "port: 9090\ntz: Europe/Paris\nqueues:\n  enabled: true\n  config:\n    - {name: heavy, maxConcurrency: 3}\n"
    "auth:\n  basic: {username: a, password: hidden}\n"
)
DAY_MS = 1_700_000_000_000


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


class DaguHome:
    """A home all in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("dags/report.yaml", REPORT)
        self.write("dags/team/parent.yaml", PARENT)
        self.write("dags/broken.yaml", "steps: 7\n")
        self.write("base.yaml", "histRetentionDays: -1\nenv:\n  - ZONE: eu\n")
        self.write("config.yaml", CONFIG)
        self.write("suspend/report.suspend", "")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def node(self, name: str, status: int, at: str = "2023-11-14T22:13:21Z", **more: Any) -> dict[str, Any]:
        log = self.write(f"logs/{name}.{status}.out", f"{name} said so\n")
        began = (
            {"startedAt": at, "finishedAt": at, "stdout": str(log), "stderr": ""}
            if status
            else {"startedAt": "-", "finishedAt": "-"}
        )
        return {"step": {"name": name, "commands": [{"command": "true"}]}, "status": status, **began, **more}

    def run(
        self, dag: str, id_: str, status: int, nodes: list[dict[str, Any]], *, text: str = "", under: str = "", **more: Any
    ) -> Path:
        """One run with an older attempt and a newer one, whose status file has an older line and a line cut off."""
        folder = f"data/dag-runs/{dag}/dag-runs/2023/11/14/dag-run_20231114_221320Z_{id_}"
        if under:
            folder = f"data/dag-runs/{under}/children/child_{id_}"
        told = {
            "name": dag, "dagRunId": id_, "attemptId": "b", "status": status, "nodes": nodes, "createdAt": DAY_MS,
            "startedAt": "2023-11-14T22:13:20Z", "finishedAt": "2023-11-14T22:13:25Z", "params": "DAY=monday",
            "paramsList": ["DAY=monday"], **more,
        }  # fmt: skip
        older = json.dumps({**told, "status": 1, "nodes": []})
        self.write(f"{folder}/attempt_20231114_221320_000Z_aaaaaa/status.jsonl", older + "\n")
        newest = f"{folder}/attempt_20231114_221324_000Z_bbbbbb"
        path = self.write(f"{newest}/status.jsonl", older + "\n" + json.dumps(told) + "\n" + '{"name": "cut')
        if text:
            kept = {"name": dag, "yamlData": base64.b64encode(text.encode()).decode()}
            self.write(f"{newest}/dag.json", json.dumps(kept))
        return path


@pytest.fixture
def home(tmp_path: Path) -> DaguHome:
    made = DaguHome(tmp_path / "dagu")
    output = {"outputVariables": {"ROWS": "ROWS=rows monday"}}
    made.run("report", "good", 4, [made.node("fetch", 4, **output), made.node("send", 4)], text=REPORT)
    made.run(
        "report",
        "bad",
        2,
        [made.node("fetch", 4, **output), made.node("send", 2, error="exit status 1", retryCount=2)],
        text=REPORT,
    )
    made.run("gone", "lost", 1, [made.node("one", 4), made.node("two", 1)])
    made.run("report", "later", 5, [made.node("fetch", 0)])
    parent = "parent/dag-runs/2023/11/14/dag-run_20231114_221320Z_top"
    made.run("parent", "top", 4, [made.node("each", 4, subRuns=[{"dagRunId": "kid", "params": "DAY=monday"}])], text=PARENT)
    made.run("report", "kid", 4, [made.node("fetch", 4, **output), made.node("send", 4)], text=REPORT, under=parent)
    return made


def test_a_home_is_taken_over_once_and_lives_on(room: Room, home: DaguHome) -> None:
    planned = json.loads(room.ok("import", "dagu", str(home.folder), "--dry-run", "--json"))
    assert (planned["dags"], planned["runs"]) == (3, 5)
    assert not room.data.exists()
    report = json.loads(room.ok("import", "dagu", str(home.folder), "--json"))
    assert {key: report[key] for key in ("dags", "base", "suspended", "runs")} == {
        "dags": 3,
        "base": True,
        "suspended": 1,
        "runs": 5,
    }
    assert report["settings"] == {"port": 9090, "time_zone": "Europe/Paris", "queues": {"heavy": 3}}
    assert "hidden" not in json.dumps(report)
    assert sum("later" in line for line in report["left"]) == 1
    assert sum("broken.yaml" in line for line in report["left"]) == 1
    assert (room.dags / "team" / "parent.yaml").read_text() == PARENT
    again = json.loads(room.ok("import", "dagu", str(home.folder), "--json"))
    assert (again["dags"], again["dags_there"], again["runs"], again["runs_there"]) == (0, 3, 0, 5)


def test_what_was_taken_over_is_shown_and_retried_like_our_own(room: Room, home: DaguHome) -> None:
    room.ok("import", "dagu", str(home.folder))
    shown = room.document("status", "bad")
    assert (shown["status"], shown["params"], shown["started_at"]) == ("failed", "DAY=monday", "2023-11-14T22:13:20.000Z")
    steps = {step["name"]: step for step in shown["steps"]}
    assert (steps["fetch"]["status"], steps["send"]["error"]) == ("succeeded", "exit status 1")
    assert room.ok("logs", "good", "fetch").strip().endswith("fetch said so")
    lost = {step["name"]: step["status"] for step in room.document("status", "lost")["steps"]}
    assert lost == {"one": "succeeded", "two": "lost"}
    with room.server() as server:
        top = server_get(server, "/dag-runs/parent/top/sub-dag-runs")
        assert [(run["dagRunId"], run["status"]) for run in top["subRuns"]] == [("kid", 4)]
        kid = server_get(server, "/dag-runs/parent/top/sub-dag-runs/kid")["dagRunDetails"]
        assert (kid["parentDAGRunId"], kid["rootDAGRunId"]) == ("top", "top")
        outputs = server_get(server, "/dag-runs/report/good/outputs")
        assert outputs["outputs"] == {"rows": "rows monday"}
        assert server_get(server, "/dags/report")["suspended"] is True
        (home.folder.parent / "dags" / "ok").write_text("")
        room.ok("retry", "bad")
    retried = room.document("status", "bad")
    assert (retried["status"], retried["round"]) == ("succeeded", 2)
    assert room.document("status", "good")["round"] == 1


def test_history_alone(room: Room, home: DaguHome) -> None:
    assert json.loads(room.ok("history", "migrate", str(home.folder), "--json"))["runs"] == 5
    assert list(room.dags.iterdir()) == []


def test_what_cannot_be_taken_over_is_refused_in_words(room: Room, home: DaguHome) -> None:
    for words, told in (
        (("import", "airflow", str(home.folder)), "no way to import `airflow`"),
        (("import", "dagu", str(room.folder / "nowhere")), "there is no folder"),
        (("import", "dagu", str(room.dags)), "no home of Dagu"),
    ):
        done = room.call(*words)
        assert done.returncode in (1, 2)
        assert told in done.stderr
    with room.server():
        done = room.call("import", "dagu", str(home.folder))
        assert done.returncode == 1
        assert "stop it, import" in done.stderr


def server_get(server: dict[str, Any], path: str) -> Any:
    with urllib.request.urlopen(server["url"] + "/api/v2" + path) as answer:
        return json.load(answer)
