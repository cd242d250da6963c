"""The published client of the seed's documents, stardag 0.1.0, drives builds on our server, and a later one that asks for more.

It is installed into an environment of its own; without a package index the test is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served import Server

PROGRAM = """
import json, sys
import stardag as sd
from stardag.build import FailMode, GlobalLockConfig, build, build_sequential
from stardag.registry import APIRegistry, RegistryGlobalConcurrencyLockManager

LATER = not hasattr(sd, "AutoTask")

@sd.task
def numbers(limit: int) -> list[int]:
    return list(range(limit))

@sd.task
def total(values: sd.Depends[list[int]]) -> int:
    return sum(values)

class Work(sd.Task[int] if LATER else sd.AutoTask[int]):
    def run(self):
        raise NotImplementedError

    def keep(self, value):
        self._save(value) if LATER else self.output().save(value)

    def kept(self):
        return self.load() if LATER else self.output().load()

class Child(Work):
    i: int
    def run(self):
        self.keep(self.i)

class Parent(Work):
    n: int
    def run(self):
        children = [Child(i=i) for i in range(self.n)]
        yield children
        self.keep(sum(child.kept() for child in children))

class Told(Work):
    v: int = 1
    def run(self):
        self.keep(self.v)
    if LATER:
        def artifacts(self):
            from stardag.artifact import JSONArtifact, MarkdownArtifact
            return [MarkdownArtifact(name="summary", body="# hi"), JSONArtifact(name="metrics", body={"acc": 0.5})]
    else:
        def registry_assets(self):
            from stardag.registry_asset import JSONRegistryAsset, MarkdownRegistryAsset
            return [MarkdownRegistryAsset(name="summary", body="# hi"), JSONRegistryAsset(name="metrics", body={"acc": 0.5})]

class Bad(Work):
    v: int = 1
    def run(self):
        raise ValueError("boom")

def locks():
    return {"global_lock_manager": RegistryGlobalConcurrencyLockManager(), "global_lock_config": GlobalLockConfig(enabled=True)}

told = {}
chain = total(values=numbers(limit=4))
for name, task, how, more in (
    ("chain", chain, build_sequential, dict),
    ("again", chain, build, dict),
    ("dynamic", Parent(n=3), build, dict),
    ("assets", Told(), build, dict),
    ("bad", Bad(), build_sequential, lambda: {"fail_mode": FailMode.CONTINUE}),
    ("locked", total(values=numbers(limit=5)), build, locks),
):
    summary = how([task], registry=APIRegistry(), **more())
    told[name] = {"status": summary.status.value, "build": str(summary.build_id), "task": str(task.id)}
print(json.dumps(told))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    opened = Server(tmp_path / "data")
    try:
        yield opened
    finally:
        opened.close()


def installed(folder: Path, version: str, require: Any) -> Path:
    """The interpreter of a fresh environment with this version of the client."""
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    require("net", uv.exists(), "no uv beside the interpreter to install stardag with")
    environment = {**os.environ, "VIRTUAL_ENV": str(folder)}
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True, env=environment)
    done = subprocess.run(
        [uv, "pip", "install", "--quiet", f"stardag=={version}"], env=environment, capture_output=True, text=True
    )
    require("net", done.returncode == 0, f"stardag {version} cannot be installed: {done.stderr.strip()[-200:]}")
    return folder / "bin" / "python"


class Api:
    """What is asked of the server beside the client."""

    def __init__(self, server: Server) -> None:
        self.base = server.said + "/api/v1"
        assert server.client is not None
        self._client = server.client

    def get(self, path: str) -> Any:
        answer = self._client.get(self.base + path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def key(self) -> str:
        workspace = self.get("/me")["workspaces"][0]["id"]
        environment = self.get(f"/workspaces/{workspace}/environments")[0]["id"]
        path = f"{self.base}/workspaces/{workspace}/environments/{environment}/api-keys"
        return str(self._client.post(path, json={"name": "sdk"}).json()["key"])


@pytest.mark.all
@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.1.0", "0.22.0", "0.26.0"])
def test_a_published_client_builds_here(version: str, server: Server, tmp_path: Path, require: Any) -> None:
    python = installed(tmp_path / "client", version, require)
    api = Api(server)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "COMMIT_HASH": "abc123", "STARDAG_API_KEY": api.key(),
        "STARDAG_REGISTRY_URL": server.said, "STARDAG_API_URL": server.said,
        "STARDAG_TARGET_ROOTS": json.dumps({"default": str(tmp_path / "roots")}),
    }  # fmt: skip
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([python, program], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert {name: one["status"] for name, one in told.items()} == {
        "chain": "success", "again": "success", "dynamic": "success", "assets": "success", "bad": "failure", "locked": "success",
    }  # fmt: skip
    check_builds(api, told)


def check_builds(api: Api, told: dict[str, dict[str, str]]) -> None:
    """What our server knows of what the client did."""
    statuses = {}
    for name, one in told.items():
        tasks = api.get(f"/builds/{one['build']}/tasks")
        statuses[name] = sorted(task["status"] for task in tasks)
    assert statuses == {
        "chain": ["completed"] * 2, "again": ["completed"], "dynamic": ["completed"] * 4, "assets": ["completed"],
        "bad": ["failed"], "locked": ["completed"] * 2,
    }  # fmt: skip
    assert len(api.get(f"/builds/{told['chain']['build']}/graph")["edges"]) == 1
    assets = api.get(f"/tasks/{told['assets']['task']}/assets")["assets"]
    assert [(asset["asset_type"], asset["body"]) for asset in assets] == [
        ("markdown", {"content": "# hi"}),
        ("json", {"acc": 0.5}),
    ]
    assert "boom" in api.get(f"/tasks/{told['bad']['task']}/metadata")["error_message"]
    assert api.get("/locks")["count"] == 0 and api.get("/builds")["total"] == 6
