"""The commands beside a live server: they hand it their work and read the same data folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from tests.specs.cli.room import Room, until

pytestmark = [pytest.mark.all, pytest.mark.net]
HELLO = "params: NAME=world\nsteps:\n  - name: greet\n    command: echo hello $NAME\n    output: SAID\n"
SLOW = "steps:\n  - name: wait\n    command: touch {folder}/began; exec sleep {mark}\n"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_runs_are_handed_to_the_server(room: Room) -> None:
    room.write("dags/hello.yaml", HELLO)
    (room.folder / "far").mkdir()
    room.write("far/adhoc.yaml", HELLO)
    with room.server() as server:
        document = room.document("run", "hello", "--run-id", "first", "--", "NAME=two words")
        assert (document["id"], document["status"], document["outputs"]) == ("first", "succeeded", {"said": "hello two words"})
        lines = room.ok("run", "far/adhoc.yaml").splitlines()
        assert lines[-1].startswith("adhoc: succeeded")
        with urllib.request.urlopen(server["url"] + "/api/v2/dag-runs") as answer:
            names = [run["name"] for run in json.load(answer)["dagRuns"]]
        assert sorted(names) == ["adhoc", "hello"]
        again = room.call("run", "hello", "--run-id", "first")
        assert again.returncode == 1
        assert "exists already" in again.stderr
        room.write("bad.yaml", "steps: ['false']")
        assert room.call("run", "bad.yaml").returncode == 1
        assert "bad\tfailed" in room.ok("runs")
    assert room.ok("logs", "first", "greet") == "hello two words\n", "reading goes on without the server"
    assert not (room.data / "server.json").exists()


def test_relative_paths_count_from_the_file_on_a_server_too(room: Room) -> None:
    (room.folder / "far").mkdir()
    room.write("far/here.yaml", "steps:\n  - command: pwd\n    output: WHERE\n")
    with room.server():
        document = room.document("run", "far/here.yaml")
    assert document["outputs"] == {"where": str((room.folder / "far").resolve())}


def test_detach_stop_retry(room: Room) -> None:
    mark = f"9{os.getpid()}"
    room.write("dags/slow.yaml", SLOW.format(folder=room.folder, mark=mark))
    with room.server():
        run_id = room.ok("run", "slow", "--detach").strip()
        until((room.folder / "began").exists, "the step")
        assert room.document("status", run_id)["status"] == "running"
        assert room.call("retry", run_id).returncode == 1
        assert room.document("stop", run_id, "--wait")["status"] == "cancelled"
        assert room.processes(mark) == []
        assert room.call("stop", run_id).returncode == 1
        (room.folder / "began").unlink()
        with room.begun("retry", run_id) as process:
            until((room.folder / "began").exists, "the second round")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            assert process.returncode == 130, out + err
        assert room.document("status", run_id)["round"] == 2
        assert room.processes(mark) == []


def test_a_second_server_on_the_same_folder_is_refused(room: Room) -> None:
    with room.server() as server:
        second = room.call("server", "--port", "0")
        assert second.returncode == 1
        assert f"process {server['pid']}" in second.stderr
        assert "Traceback" not in second.stderr
        assert json.loads((room.data / "server.json").read_text())["pid"] == server["pid"]


def test_a_port_in_use(room: Room) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = room.call("server", "--port", str(port))
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (room.data / "server.json").exists()


def test_an_address_others_can_reach_is_refused(room: Room) -> None:
    done = room.call("server", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "loopback" in done.stderr


def test_what_a_killed_server_left_does_not_mislead(room: Room) -> None:
    room.write("dags/hello.yaml", HELLO)
    with room.begun("server", "--port", "0") as process:
        until((room.data / "server.json").exists, "the server's start")
        process.kill()
        process.wait()
    assert (room.data / "server.json").exists()
    assert "hello: succeeded" in room.ok("run", "hello")


def test_openapi_needs_no_server(room: Room) -> None:
    document = json.loads(room.ok("openapi"))
    assert document["openapi"].startswith("3.1")
    assert "/api/v2/dags" in document["paths"]
    room.ok("openapi", "--output", "api.json")
    assert json.loads((room.folder / "api.json").read_text()) == document
    assert not room.data.exists()


def test_a_run_whose_server_is_killed_does_not_hang(room: Room) -> None:
    mark = f"6{os.getpid()}"
    room.write("dags/slow.yaml", SLOW.format(folder=room.folder, mark=mark))
    with room.begun("server", "--port", "0") as server:
        until((room.data / "server.json").exists, "the server's start")
        with room.begun("run", "slow") as process:
            until((room.folder / "began").exists, "the step")
            server.kill()
            server.wait()
            _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "the server ended before run" in err
    with room.server():
        until(lambda: room.document("status", "slow")["status"] == "failed", "the end of the lost run")
    assert room.processes(mark) == []


def test_logs_of_a_run_whose_server_is_killed_end(room: Room) -> None:
    mark = f"7{os.getpid()}"
    room.write("dags/slow.yaml", SLOW.format(folder=room.folder, mark=mark))
    with room.begun("server", "--port", "0") as server:
        until((room.data / "server.json").exists, "the server's start")
        room.ok("run", "slow", "--detach")
        until((room.folder / "began").exists, "the step")
        with room.begun("logs", "-f", "slow") as process:
            server.kill()
            server.wait()
            _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "the server ended before run" in err
    with room.server():
        until(lambda: room.document("status", "slow")["status"] == "failed", "the end of the lost run")
    assert room.processes(mark) == []
