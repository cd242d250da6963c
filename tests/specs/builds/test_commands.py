"""The commands about builds, against a real server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Ran, move_in
from tests.served import Server

pytestmark = pytest.mark.slow

PIPELINE = """
import sys
from pathlib import Path
import astrarium as ar

@ar.task
def numbers(limit: int) -> list[int]:
    print("numbers says this")
    return list(range(limit))

@ar.task
def total(values: ar.Depends[list[int]], name: str = "") -> int:
    if Path("broken").exists():
        raise RuntimeError("it is broken")
    return sum(values)

class Noted(ar.Task[int]):
    def run(self):
        self._save(1)

    def artifacts(self):
        return [ar.MarkdownArtifact(name="note", body="# made")]

def both(limit: int):
    return [total(values=numbers(limit=limit)), Noted()]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    opened = Server(tmp_path_factory.mktemp("commands") / "data")
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def room(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ran:
    """Commands in the folder of `pipeline.py`, which is a module's, as are the builds. The server is named by a variable."""
    folder = server.folder.parent
    move_in(folder, monkeypatch)
    (folder / "pipeline.py").write_text(PIPELINE)
    monkeypatch.setenv("ASTRARIUM_CODE_ID", "code-1")
    monkeypatch.setenv("ASTRARIUM_REGISTRY_URL", server.said)
    monkeypatch.setattr("sys.path", list(sys.path))
    return Ran(capsys)


def rows(room: Ran, *words: str) -> list[list[str]]:
    return [line.split("\t") for line in room(*words).splitlines()]


def test_a_build_and_what_is_known_of_it(room: Ran) -> None:
    dry = room.json("build", "pipeline:both", "--param", "limit=4", "--dry-run")
    assert [(one["task"].split()[0], one["complete"]) for one in dry] == [("numbers", False), ("total", False), ("Noted", False)]
    assert room.json("builds", "list")["builds"] == [], "a dry run tells nobody"
    told = room.json("build", "pipeline:both", "--param", "limit=4", "--description", "nightly", "--settings", "REGION=eu")
    assert (told["status"], told["task_count"]["succeeded"], len(told["targets"])) == ("success", 3, 2)
    build = told["build_id"]

    (found,) = room.json("builds", "list", "--status", "completed")["builds"]
    assert (found["id"], found["description"]) == (build, "nightly")
    assert rows(room, "builds", "list")[0][2] == "completed"
    shown = {name: value for name, value in rows(room, "builds", "show", build)}
    assert (shown["status"], shown["tasks"]) == ("completed", '{"completed": 3}')
    assert room.json("builds", "frontier", build)["plan_complete"] is True
    assert "the build is completed" in room("builds", "frontier", build) or not rows(room, "builds", "frontier", build)

    (plan,) = room.json("plans", "list", "--build", build)["plans"]
    assert (plan["is_active"], plan["member_count"]) == (True, 3)
    assert rows(room, "plans", "list", "-b", build)[0][:4] == [plan["id"], "1", "active", "3"]
    assert room.json("plans", "show", plan["id"])["settings"] == {"REGION": "eu"}
    assert dict(rows(room, "plans", "show", plan["id"]))["code id"] == "code-1"
    (deployment,) = room.json("deployments", "list", "--kind", "local")["deployments"]
    assert room.json("deployments", "show", deployment["id"])["code_id"] == "code-1"
    assert rows(room, "deployments", "list")[0][3] == "code-1"
    assert rows(room, "deployments", "list", "--current") == []

    executions = room.json("executions", "list", "--build", build, "--include-ended")["executions"]
    assert [one["outcome"] for one in executions] == ["completed"] * 3
    assert room.json("executions", "list", "--build", build)["executions"] == []
    noted = next(one["task_id"] for one in room.json("tasks", "list")["tasks"] if one["task_name"] == "Noted")
    assert [row[6] for row in rows(room, "executions", "list", "-t", noted, "--include-ended")] == ["completed"]
    text = room("tasks", "show", noted, "--include-ended", "--events", "2")
    assert "artifacts\tnote\n" in text and "task_completed" in text
    assert len(room.json("tasks", "show", noted, "--events", "2")["events"]) <= 2


def test_a_failed_task_is_found_retried_and_gone_on_with(room: Ran) -> None:
    broken = Path("broken")
    broken.touch()
    room("build", "pipeline:total", "--param", 'values={"__name": "numbers", "__namespace": "", "limit": 5}', code=1)
    assert "it is broken" in room.err and room.err.startswith("astrarium: build failure")
    (build,) = [one["id"] for one in room.json("builds", "list", "--status", "failed")["builds"]]
    (task,) = [one["task_id"] for one in room.json("tasks", "list", "--status", "failed")["tasks"]]
    assert "it is broken" in room("tasks", "show", task)
    assert room("tasks", "retry", task) == f"task {task} is now pending\n"
    assert room("tasks", "retry", task, "--build", build) == f"task {task} was already pending\n"
    assert "is not there; the registry says pending" in room("tasks", "check", task, "--module", "pipeline", code=1)
    broken.unlink()
    again = room.json(
        "build",
        "pipeline:total",
        "--param",
        'values={"__name": "numbers", "__namespace": "", "limit": 5}',
        "--resume",
        build,
    )
    assert (again["build_id"], again["status"]) == (build, "success")
    assert room.json("builds", "show", build)["status"] == "completed"
    assert room.json("tasks", "check", task, "-m", "pipeline", "--report")["complete"] is True
    Path(room.json("tasks", "check", task, "-m", "pipeline")["uri"]).unlink()
    gone = room.json("tasks", "check", task, "-m", "pipeline", "--report", code=1)
    assert (gone["complete"], gone["status"]) == (False, "completed")
    assert room.json("tasks", "show", task)["status"] == "pending", "it was reported as gone"


def test_builds_are_ended_by_people(room: Ran, server: Server) -> None:
    def begun() -> str:
        return str(server.call("POST", "/builds", {"root_task_ids": ["51e991c3-3baf-5088-b553-49bd7baeced2"]}).json()["id"])

    one, two, three = begun(), begun(), begun()
    assert room("builds", "cancel", one) == f"build {one} is cancelled\n"
    assert room.json("builds", "fail", two, "-m", "the machine is gone")["error_message"] == "the machine is gone"
    room("builds", "complete", three, "--force", code=1)
    assert "plan" in room.err
    room("builds", "cancel", two, code=1)
    assert "failed" in room.err.lower()
    page = room.json("builds", "list", "--limit", "1")
    room("builds", "list", "-n", "1")
    assert room.err == f"there are more: --cursor {page['next_cursor']}\n"
    after = room.json("builds", "list", "--limit", "1", "--cursor", page["next_cursor"])
    assert after["builds"][0]["id"] != page["builds"][0]["id"]


def test_limits(room: Ran) -> None:
    assert room("concurrency-limits", "set", "gpu", "2") == "gpu: at most 2 at a time\n"
    assert rows(room, "concurrency-limits", "list") == [["gpu", "2", "0"]]
    assert room.json("concurrency-limits", "list", "--holders")["limits"][0]["holders"] == []
    assert room.json("concurrency-limits", "holders", "gpu")["max_concurrent"] == 2
    assert room("concurrency-limits", "delete", "gpu") == "gpu: no limit\n"
    for words in (("delete", "gpu"), ("holders", "gpu")):
        room("concurrency-limits", *words, code=1)
        assert "gpu" in room.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("builds", "show", "0190a0a0-0000-7000-8000-000000000001"), 1, "build"),
        (("builds", "show", "nonsense"), 1, "UUID"),
        (("tasks", "show", "0190a0a0-0000-7000-8000-000000000001"), 1, "task"),
        (("plans", "show", "0190a0a0-0000-7000-8000-000000000001"), 1, "plan"),
        (("executions", "list"), 2, "either --build or --task"),
        (("build", "pipeline"), 1, "names no task"),
        (("build", "pipeline:numbers"), 1, "limit: Field required"),
        (("build", "pipeline:numbers", "--param", "limit"), 2, "NAME=VALUE"),
        (("build", "pipeline:numbers", "--mode", "fast"), 2, "'threads'"),
        (("build", "nowhere:numbers"), 1, "no module 'nowhere'"),
        (("concurrency-limits", "set", "gpu", "-1"), 2, "-1"),
    ],
)
def test_what_cannot_be_is_told(room: Ran, words: tuple[str, ...], code: int, told: str) -> None:
    room(*words, code=code)
    assert told in room.err


def test_the_server_of_the_data_folder_is_asked_where_none_is_configured(room: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    known = room.json("builds", "list")["builds"]
    monkeypatch.delenv("ASTRARIUM_REGISTRY_URL")
    assert room.json("builds", "list")["builds"] == known
    monkeypatch.setenv("ASTRARIUM_DATA_DIR", str(Path.cwd() / "elsewhere"))
    room("builds", "list", code=1)
    assert "no registry is configured" in room.err
