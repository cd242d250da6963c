"""The server's own life: what it writes, how it stops, what it refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.all, pytest.mark.net, pytest.mark.slow]

Start = Callable[..., Any]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_clean_on_a_signal(start_server: Start, number: int) -> None:
    server = start_server()
    path = server.folder / "server.json"
    told = server.told()
    assert told["url"] == server.said
    assert told["pid"] == server.process.pid
    assert len(told["token"]) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server.signal(number) == 0
    assert not path.exists()


def test_running_steps_may_finish(start_server: Start) -> None:
    server = start_server(drain_timeout_s=20)
    server.add("short.yaml", f"steps:\n  - name: busy\n    command: echo $$ > {server.folder}/pid; sleep 0.7; echo done\n")
    run = server.start("short")
    server.until("short", run, lambda found: found["nodes"][0]["status"] == 1)
    assert server.signal() == 0
    again = start_server()
    assert again.ended("short", run)["status"] == 4
    assert again.get(f"/dag-runs/short/{run}/steps/busy/log")["content"] == "done"


def test_what_does_not_finish_leaves_no_process_behind(start_server: Start) -> None:
    server = start_server(drain_timeout_s=0)
    server.add("long.yaml", f"steps:\n  - name: busy\n    command: echo $$ > {server.folder}/pid; exec sleep 300\n")
    run = server.start("long")
    written = server.folder / "pid"
    server.until("long", run, lambda found: written.exists() and bool(written.read_text().strip()))
    pid = int(written.read_text())
    assert server.signal() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    found = start_server().ended("long", run)
    assert (found["status"], found["nodes"][0]["status"]) == (2, 2)
    assert "server" in found["nodes"][0]["error"]


def test_a_killed_server_is_followed_by_one_that_ends_its_runs(start_server: Start) -> None:
    server = start_server()
    step = "  - name: busy\n    command: sleep 0.3; echo done\n    retryPolicy: {limit: 2, intervalSec: 0}\n"
    server.add("retried.yaml", f"steps:\n{step}")
    run = server.start("retried")
    server.until("retried", run, lambda found: found["nodes"][0]["status"] == 1)
    server.process.kill()
    server.process.wait()
    again = start_server()
    assert again.said.startswith("http"), again.said
    assert again.told()["pid"] == again.process.pid
    assert again.ended("retried", run)["status"] == 4


def test_a_port_in_use_is_told_with_what_to_do(start_server: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start_server(port=port)
        assert re.search(rf"port {port} of 127\.0\.0\.1 is in use .*--port", server.said)
        assert server.process.wait(30) == 3
    assert not (server.folder / "server.json").exists()


def test_a_second_server_on_one_folder_is_refused(start_server: Start) -> None:
    first = start_server()
    second = start_server()
    assert second.process.wait(30) == 3
    assert not second.said.startswith("http")
    assert str(first.process.pid) in second.said
    assert first.get("/health")["status"] == "healthy"
    assert first.told()["pid"] == first.process.pid


def test_ten_thousand_steps(start_server: Start) -> None:
    server = start_server()
    steps = "".join(f"  - name: s{number}\n    type: noop\n" for number in range(10_000))
    server.add("wide.yaml", f"type: graph\nsteps:\n{steps}")
    run = server.start("wide")
    found = server.ended("wide", run)
    assert found["status"] == 4
    assert len(found["nodes"]) == 10_000
    assert {node["status"] for node in found["nodes"]} == {4}
    log = server.get(f"/dag-runs/wide/{run}/log", tail=1)
    assert log["totalLines"] > 10_000


def test_much_output_is_given_in_windows(start_server: Start) -> None:
    server = start_server()
    step = "  - name: print\n    command: yes 0123456789abcdef | head -c 20000000\n"
    server.add("much.yaml", f"steps:\n{step}  - printf '\\377\\376\\000x\\n'\n")
    run = server.start("much")
    assert server.ended("much", run)["status"] == 4
    path = f"/dag-runs/much/{run}/steps/print/log"
    assert server.get(path, offset=1_000_000, limit=2)["content"] == "0123456789abcdef\n0123456789abcdef"
    assert server.get(path, tail=1)["lineCount"] == 1
    assert server.get(path)["lineCount"] == 1000
    binary = server.get(f"/dag-runs/much/{run}/steps/cmd_2/log")["content"]
    assert binary.endswith("x")


@pytest.mark.postgres
def test_the_same_on_postgresql(start_server: Start, postgres_database: str) -> None:
    server = start_server(database_url=postgres_database)
    server.add("part.yaml", "params: A=1\nsteps:\n  - name: say\n    command: echo $A\n    output: OUT\n")
    server.add("whole.yaml", "steps:\n  - name: call\n    call: part\n    params: A=5\n")
    run = server.start("whole", dagRunId="one")
    assert server.ended("whole", run)["status"] == 4
    child = server.get("/dag-runs/whole/one/sub-dag-runs")["subRuns"][0]["dagRunId"]
    path = f"/dag-runs/whole/one/sub-dag-runs/{child}"
    assert server.get(f"{path}/steps/say/log")["content"] == "5"
    assert server.get("/dag-runs", name="WHO", status=4, fromDate=1)["dagRuns"][0]["dagRunId"] == "one"
    assert "run succeeded" in server.get("/dag-runs/whole/one/log")["content"]
    assert server.get("/dags", name="whole")["dags"][0]["latestDAGRun"]["status"] == 4
    assert server.get("/dags/whole/dag-runs")["gridData"] == [{"name": "call", "history": [4]}]
    for strange in ("/dag-runs/a%00/x", "/dag-runs/whole/%00", f"/dag-runs/whole/one/steps/{'%00'}/log"):
        assert server.client.get(strange).status_code == 404
    assert server.signal() == 0
