"""The commands a user of this API has in scripts, typed as they are, with a real curl: only the port is another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.net

API = "http://localhost:8080/api/v2"
JSON = '-H "Content-Type: application/json"'
RUN = f"{API}/dag-runs/my-dag/20240101_120000"
CURLRC = 'silent\nshow-error\nwrite-out = "\\n%{http_code}"\n'
"""Makes every curl say the status after the answer, so that the commands stay as they are printed."""

MY_DAG = """tags: [prod]
params: env=dev
steps:
  - name: step1
    command: echo "the database of $env"
  - name: step2
    command: while [ -e {hold} ]; do sleep 0.05; done
"""
DEPLOY = 'params: version=v0\nsteps:\n  - name: ship\n    command: echo "$version to $environment"\n    output: SHIPPED\n'
EXAMPLE = "name: example_dag\ndescription: Example DAG\ntags: [example, prod]\nschedule: '0 * * * *'\nsteps: [echo example]\n"

Answer = tuple[int, Any]


class Shell:
    """Runs commands in a shell whose curl tells the status, against the server of this module."""

    def __init__(self, server: Any, folder: Path) -> None:
        self.server = server
        (folder / ".curlrc").write_text(CURLRC)
        self.env = {**os.environ, "CURL_HOME": str(folder)}

    def text(self, command: str) -> str:
        """What the command prints."""
        port = self.server.said.rpartition(":")[2]
        made = subprocess.run(
            ["bash", "-c", command.replace("localhost:8080", f"localhost:{port}")], env=self.env, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert not made.stderr, made.stderr
        return made.stdout

    def __call__(self, command: str) -> Answer:
        """The status and the JSON of a single curl."""
        body, _, status = self.text(command).rpartition("\n")
        return int(status), json.loads(body) if body.strip() else None


@pytest.fixture
def shell(server: Any, tmp_path: Path) -> Shell:
    if shutil.which("curl") is None:
        pytest.skip("curl: not installed")
    server.add("my-dag.yaml", MY_DAG.format(hold=tmp_path / "hold"))
    server.add("deploy-app.yaml", DEPLOY)
    server.add("example.yaml", EXAMPLE)
    return Shell(server, tmp_path)


def test_health(shell: Shell) -> None:
    status, told = shell(f"curl {API}/health")
    assert status == 200
    assert told["status"] == "healthy"
    assert isinstance(told["version"], str)
    assert isinstance(told["uptime"], int)
    assert told["timestamp"].endswith("Z")


def test_definitions(shell: Shell) -> None:
    status, told = shell(f"curl {API}/dags")
    assert status == 200
    assert {"my-dag.yaml", "deploy-app.yaml", "example.yaml"} <= {one["fileName"] for one in told["dags"]}
    assert told["errors"] == []
    assert told["pagination"]["prevPage"] is None
    status, told = shell(f'curl "{API}/dags?page=1&perPage=10&name=example&tag=prod"')
    assert [one["fileName"] for one in told["dags"]] == ["example.yaml"]
    dag = told["dags"][0]["dag"]
    assert dag["name"] == "example_dag"
    assert dag["schedule"] == [{"expression": "0 * * * *"}]
    assert dag["tags"] == ["example", "prod"]
    assert told["dags"][0]["suspended"] is False
    status, told = shell(f"curl {API}/dags/my-dag.yaml")
    assert status == 200
    assert [step["name"] for step in told["dag"]["steps"]] == ["step1", "step2"]
    status, told = shell(f'curl -X POST {API}/dags \\\n  {JSON} \\\n  -d \'{{"name": "my-new-dag"}}\'')
    assert (status, told) == (201, {"name": "my-new-dag"})


def test_runs(shell: Shell, tmp_path: Path) -> None:
    server = shell.server
    params = '"params": "{\\"env\\": \\"production\\"}"'
    status, told = shell(
        f'curl -X POST {API}/dags/my-dag.yaml/start \\\n  {JSON} \\\n  -d \'{{\n    {params},\n    "dagRunId": "custom-run-id"\n  }}\''
    )
    assert (status, told) == (200, {"dagRunId": "custom-run-id"})
    run = server.ended("my-dag", "custom-run-id")
    assert run["status"] == 4
    assert "env=production" in run["params"]
    status, told = shell(f"curl -X POST {API}/dags/my-dag.yaml/enqueue \\\n  {JSON} \\\n  -d '{{\n    {params}\n  }}'")
    assert status == 200
    assert server.ended("my-dag", told["dagRunId"])["status"] == 4
    status, told = shell(f"curl {API}/dag-runs")
    assert {"custom-run-id"} <= {one["dagRunId"] for one in told["dagRuns"]}

    (tmp_path / "hold").touch()
    server.start("my-dag.yaml", dagRunId="20240101_120000")
    server.until("my-dag", "20240101_120000", lambda found: found["nodes"][1]["status"] == 1)
    assert shell(f"curl -X POST {RUN}/stop")[0] == 200
    assert server.ended("my-dag", "20240101_120000")["status"] == 3
    (tmp_path / "hold").unlink()
    status, told = shell(f'curl "{API}/dag-runs?name=my-dag&status=2"')
    assert (status, told["dagRuns"]) == (200, [])

    status, told = shell(f'curl -X POST {RUN}/retry \\\n  {JSON} \\\n  -d \'{{"dagRunId": "new-run-id"}}\'')
    assert status == 200
    assert server.ended("my-dag", "new-run-id")["status"] == 4
    mark = f"curl -X PATCH {RUN}/steps/step1/status \\\n  {JSON} \\\n  -d"
    assert shell(f"{mark} '{{\"status\": 4}}'  # 4 = Success")[0] == 200
    assert server.run("my-dag", "20240101_120000")["nodes"][0]["status"] == 4
    assert shell(f"{mark} '{{\"status\": 2}}'  # 2 = Failed")[0] == 200
    assert server.run("my-dag", "20240101_120000")["nodes"][0]["status"] == 2


def test_suspend_and_resume(shell: Shell) -> None:
    for wanted in (True, False):
        body = json.dumps({"suspend": wanted})
        status, _ = shell(f"curl -X POST {API}/dags/my-dag.yaml/suspend \\\n  {JSON} \\\n  -d '{body}'")
        assert status == 200
        assert shell.server.get("/dags/my-dag.yaml")["suspended"] is wanted


def test_search(shell: Shell) -> None:
    status, told = shell(f'curl "{API}/dags/search?q=database"')
    assert status == 200
    assert [(one["name"], one["matches"][0]["lineNumber"]) for one in told["results"]] == [("my-dag", 5)]


def test_a_pipeline_triggers_a_deployment(shell: Shell) -> None:
    status, told = shell(
        f"curl -X POST {API}/dags/deploy-app.yaml/start \\\n  {JSON} \\\n  -d '{{\n"
        '    "params": "{\\"version\\": \\"v1.2.3\\", \\"environment\\": \\"production\\"}",\n    "dagRunId": "deploy-v1.2.3"\n'
        "  }'"
    )
    assert (status, told) == (200, {"dagRunId": "deploy-v1.2.3"})
    assert shell.server.ended("deploy-app", "deploy-v1.2.3")["status"] == 4
    told = shell.server.get("/dag-runs/deploy-app/deploy-v1.2.3/outputs")
    assert told["outputs"] == {"shipped": "v1.2.3 to production"}


def test_a_script_creates_and_starts_a_dag(shell: Shell) -> None:
    made = shell.text(
        f'#!/bin/bash\n# Create and start new DAG\ncurl -X POST {API}/dags \\\n  {JSON} \\\n  -d \'{{"name": "automated-dag"}}\'\n'
        f'\ncurl -X POST {API}/dags/automated-dag.yaml/start \\\n  {JSON} \\\n  -d \'{{"params": "{{}}"}}\''
    )
    assert made.splitlines()[1].startswith("201"), made
    assert made.splitlines()[-1] == "200", made
    assert shell.server.ended("automated-dag", "latest")["status"] == 4


SAMPLES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (f"curl {API}/metrics", lambda text: text.endswith("\n200") and "\ndagu_scheduler_running " in text),
    (
        f"curl {API}/metrics",
        lambda text: "\ndagu_dag_runs_queued_total " in text and 'dagu_dag_runs_total{status="success"}' in text,
    ),
    (
        f"curl -s {API}/metrics | grep 'dagu_dag_runs_total{{status=\"error\"}}'",
        lambda text: text.startswith("dagu_dag_runs_total"),
    ),
)


@pytest.mark.parametrize(("command", "good"), SAMPLES)
def test_metrics(shell: Shell, command: str, good: Callable[[str], bool]) -> None:
    told = shell.text(command)
    assert good(told), told


def test_an_error_has_code_message_and_details(shell: Shell) -> None:
    status, told = shell(f"curl {API}/dags/nowhere.yaml")
    assert status == 404
    assert told["code"] == "not_found"
    assert told["message"]
