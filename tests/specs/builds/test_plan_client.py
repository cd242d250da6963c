"""The newest published client, stardag 0.28.0, drives builds on our server and reads them with its command line.

It is installed into an environment of its own; without a package index the tests are skipped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served import Server
from tests.specs.builds.test_client import Api, installed

VERSION = "0.28.0"
TASKS = """
import json, os, sys, time
from pathlib import Path
import stardag as sd
from stardag.build import FailMode

SWITCH = Path(os.environ["SWITCH"])
RAN = Path(os.environ["RAN"])

@sd.task
def numbers(limit: int) -> list[int]:
    return list(range(limit))

@sd.task
def total(values: sd.Depends[list[int]]) -> int:
    return sum(values)

@sd.task
def fragile(values: sd.Depends[list[int]]) -> int:
    if not SWITCH.exists():
        raise ValueError("boom")
    return sum(values)

@sd.task
def after(value: sd.Depends[int]) -> int:
    return value + 1

@sd.task
def slow(n: int, label: str) -> int:
    with RAN.open("a") as file:
        file.write(f"{n}\\n")
    time.sleep(0.05)
    return n

class Sum(sd.Task[int]):
    label: str
    def requires(self):
        return [slow(n=n, label=self.label) for n in range(8)]
    def run(self):
        self._save(sum(one.load() for one in self.requires()))

class Child(sd.Task[int]):
    i: int
    def run(self):
        self._save(self.i)

class Parent(sd.Task[int]):
    n: int
    def run(self):
        children = [Child(i=i) for i in range(self.n)]
        yield children
        self._save(sum(child.load() for child in children))

class Told(sd.Task[int]):
    v: int = 1
    def run(self):
        self._save(self.v)
    def artifacts(self):
        from stardag.artifact import JSONArtifact, MarkdownArtifact
        return [MarkdownArtifact(name="summary", body="# hi"), JSONArtifact(name="metrics", body={"acc": 0.5})]

def shown(summary, task):
    return {"status": summary.status.value, "build": str(summary.build_id), "task": str(task.id)}
"""
PROGRAM = (
    TASKS
    + """
told = {}
chain = total(values=numbers(limit=4))
bad = after(value=fragile(values=numbers(limit=5)))
for name, task, how, more in (
    ("chain", chain, sd.build_sequential, {}),
    ("again", chain, sd.build, {}),
    ("concurrent", after(value=total(values=numbers(limit=7))), sd.build, {}),
    ("dynamic", Parent(n=3), sd.build, {}),
    ("dynamic_sequential", Parent(n=4), sd.build_sequential, {}),
    ("artifacts", Told(), sd.build, {}),
    ("settings", total(values=numbers(limit=8)), sd.build, {"settings": {"A": "1"}}),
    ("bad", bad, sd.build, {"fail_mode": FailMode.CONTINUE}),
):
    told[name] = shown(how([task], **more), task)
try:
    sd.build_sequential([after(value=fragile(values=numbers(limit=9)))])
except ValueError as error:
    told["fast"] = str(error)
SWITCH.touch()
told["resumed"] = shown(sd.build([bad], resume_build_id=told["bad"]["build"]), bad)
os.remove(chain.target().uri if hasattr(chain.target(), "uri") else chain.target().path)
told["vanished"] = shown(sd.build([chain]), chain)
told["loaded"] = total.from_registry(chain.id).load()
print(json.dumps(told))
"""
)
RACER = (
    TASKS
    + """
task = Sum(label=sys.argv[1])
print(json.dumps(shown(sd.build([task], resume_build_id=sys.argv[2] if len(sys.argv) > 2 else None), task)))
"""
)


class Client:
    """The published client in an environment of its own, against a server of ours."""

    def __init__(self, folder: Path, server: Server, require: Any) -> None:
        self.python = installed(folder / "client", VERSION, require)
        self.api = Api(server)
        self.folder = folder
        self.server = server
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "STARDAG_API_KEY": self.api.key(), "STARDAG_API_URL": server.said,
            "STARDAG_CODE_ID": "code-1", "SWITCH": str(folder / "switch"), "RAN": str(folder / "ran"), "COLUMNS": "200",
            "STARDAG_TARGET_ROOTS": json.dumps({"default": str(folder / "roots")}),
        }  # fmt: skip

    def begin(self, program: str, *args: str) -> subprocess.Popen[str]:
        path = self.folder / "program.py"
        path.write_text(program)
        return subprocess.Popen(
            [self.python, path, *args],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, *args: str) -> Any:
        return self.end(self.begin(program, *args))

    def end(self, begun: subprocess.Popen[str]) -> Any:
        said, complained = begun.communicate(timeout=90)
        assert begun.returncode == 0, complained[-3000:]
        return json.loads(said.splitlines()[-1])

    def command(self, *words: str) -> Any:
        """What the command line answers, as JSON."""
        done = subprocess.run(
            [self.python.parent / "stardag", *words, "--json"], env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def get(self, path: str) -> Any:
        assert self.server.client is not None
        answer = self.server.client.get(self.server.said + "/api/v2" + path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def client(tmp_path: Path, require: Any) -> Iterator[Client]:
    server = Server(tmp_path / "data")
    try:
        yield Client(tmp_path, server, require)
    finally:
        server.close()


@pytest.mark.all
@pytest.mark.slow
def test_the_newest_client_builds_here_and_reads_what_it_built(client: Client) -> None:
    told = client.run(PROGRAM)
    assert told.pop("fast") == "boom" and told.pop("loaded") == 6
    assert {name: one["status"] for name, one in told.items()} == {
        "chain": "success", "again": "success", "concurrent": "success", "dynamic": "success", "dynamic_sequential": "success",
        "artifacts": "success", "settings": "success", "bad": "failure", "resumed": "success", "vanished": "success",
    }  # fmt: skip
    assert told["resumed"]["build"] == told["bad"]["build"]
    resumed = client.get(f"/builds/{told['bad']['build']}")
    assert (resumed["status"], resumed["is_resumed"]) == ("completed", True)
    plan = client.get(f"/builds/{told['dynamic']['build']}/plans")["plans"][0]
    assert plan["member_counts"] == {"completed": 4}
    assert sum(edge["is_dynamic"] for edge in client.get(f"/plans/{plan['id']}/graph")["edges"]) == 3
    artifacts = client.get(f"/tasks/{told['artifacts']['task']}/artifacts")["artifacts"]
    assert {one["name"]: one["body"] for one in artifacts} == {"summary": {"content": "# hi"}, "metrics": {"acc": 0.5}}
    events = [one["event_type"] for one in client.get(f"/tasks/{told['chain']['task']}/events")["events"]]
    assert "task_invalidated" in events and events.count("task_completed") == 2
    _check_commands(client, told["bad"]["build"], told["chain"]["task"])


def _check_commands(client: Client, build: str, task: str) -> None:
    listed = client.command("builds", "list")
    assert any(one["id"] == build for one in listed["builds"])
    assert client.command("builds", "show", build)
    assert client.command("builds", "frontier", build)
    assert client.command("plans", "list", "-b", build)
    assert client.command("executions", "list", "-b", build, "--include-ended")
    assert client.command("deployments", "list")
    assert client.command("tasks", "list", "--status", "failed")
    assert client.command("tasks", "show", task)
    failed = client.get("/tasks?status=failed")["tasks"][0]["task_id"]
    last = client.get("/builds?status=failed")["builds"][0]["id"]
    client.command("tasks", "retry", failed, "-b", last, "--yes")
    assert client.get(f"/tasks/{failed}")["status"] == "pending"
    client.command("concurrency-limits", "set", "gpu", "2")
    assert client.get("/concurrency-limits")["limits"] == [{"key": "gpu", "max_concurrent": 2, "in_use": 0, "holders": None}]


@pytest.mark.all
@pytest.mark.slow
def test_two_of_them_share_one_set_of_tasks(client: Client) -> None:
    for race in range(3):
        (client.folder / "ran").unlink(missing_ok=True)
        begun = [client.begin(RACER, f"race{race}") for _ in range(2)]
        assert [client.end(one)["status"] for one in begun] == ["success", "success"]
        assert sorted((client.folder / "ran").read_text().split()) == sorted(str(n) for n in range(8)), "each was run once"


@pytest.mark.all
@pytest.mark.slow
def test_one_that_was_killed_is_resumed(client: Client) -> None:
    begun = client.begin(RACER, "killed")
    ran, until = client.folder / "ran", time.monotonic() + 60
    while not ran.exists():
        assert begun.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    begun.send_signal(signal.SIGKILL)
    begun.communicate()
    build = client.get("/builds?status=running")["builds"][0]["id"]
    for task in client.get("/tasks?status=running")["tasks"]:  # what the dead one held need not be waited for
        client.server.client.post(  # type: ignore[union-attr]
            f"{client.server.said}/api/v2/executions/{task['execution_id']}/stopped", json={"outcome": "lost"}
        )
    told = client.run(RACER, "killed", build)
    assert (told["status"], told["build"]) == ("success", build)
    rows = [client.get(f"/tasks/{one['task_id']}/executions")["executions"] for one in client.get("/tasks")["tasks"]]
    assert all(sum(one["outcome"] == "completed" for one in row) <= 1 for row in rows)
