"""Disks that are full, read-only or not a folder; databases that are another's, newer or damaged; a port that is taken."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.specs.cli.room import Room, until
from tests.specs.hard.conftest import make_room, serving, wait_gone, written

pytestmark = [pytest.mark.all, pytest.mark.net, pytest.mark.slow]


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own at `folder`, or a skip that says why there is none."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this system lets nobody mount a file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(path: Path) -> None:
    """Take every byte that is left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass


def refusal(room: Room, *words: str) -> str:
    """What a server that cannot start says: one clear complaint and exit code 1."""
    done = room.call("server", "--port", "0", *words)
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert "hint:" in done.stderr
    return done.stderr


@pytest.mark.all
def test_a_full_disk(tmp_path: Path) -> None:
    room = make_room(tmp_path)
    spec = "steps:\n  - name: a\n    command: echo kept\n    output: A\n"
    with mounted(room.data, "size=24m"), serving(room) as server:
        known = {server.begin(spec, dagRunId=f"before-{number}") for number in range(5)}
        for run in known:
            assert server.ended(run)["status"] == 4
        gate = room.folder / "gate"
        waiting = server.begin(
            f"steps:\n  - name: w\n    command: echo $$ > {gate}.pid; until test -e {gate}; do sleep 0.1; done\n  - type: noop\n"
        )
        process = int(written(room.folder / "gate.pid"))
        server.add("file.yaml", "steps: [echo]\n")
        ballast = room.data / "ballast"
        fill(ballast)
        accepted, refused = set(), None
        for number in range(300):
            answer = server.call("POST", "/dag-runs", {"spec": spec, "name": "adhoc", "dagRunId": f"full-{number}"})
            if answer.status_code == 200:
                accepted.add(f"full-{number}")
                continue
            refused = refused or server.refused(answer, 503)
            if number > 20:
                break
        assert refused, "a full disk refuses new runs"
        assert "disk is full" in refused["message"]
        assert str(room.data) in refused["message"]
        assert server.call("GET", "/dag-runs").status_code == 200, "what is there can be read"
        assert server.run("before-0")["status"] == 4
        assert server.process.poll() is None
        body = {"spec": "steps:\n" + "  - echo much\n" * 500}
        assert server.call("PUT", "/dags/file/spec", body).status_code in (200, 503)
        gate.write_text("")
        wait_gone([process])  # the step ends while nothing can be recorded
        ballast.unlink()
        later = until(lambda: begun(server, spec), "work after space was freed", 30)
        assert server.ended(later)["status"] == 4
        found = server.ended(waiting)
        assert found["status"] == 4, found
        for run in accepted:
            assert server.ended(run)["status"] in (2, 4), run
        known |= accepted | {waiting, later}
        listed = {run["dagRunId"] for run in server.get("/dag-runs/adhoc", fromDate=1)["dagRuns"]}
        assert known <= listed | {run for run in known if server.run(run)}
        assert server.get("/dags/file/spec")["spec"] in ("steps: [echo]\n", body["spec"])
        server.process.terminate()
        assert server.process.wait(30) == 0
        with serving(room) as again:
            for run in known:
                assert again.run(run)["status"] in (2, 4), run
            assert again.run("before-0")["nodes"][0]["status"] == 4


def begun(server: Any, spec: str) -> str:
    answer = server.call("POST", "/dag-runs", {"spec": spec, "name": "adhoc"})
    assert answer.status_code in (200, 503), answer.text
    return str(answer.json().get("dagRunId", ""))


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    room = make_room(tmp_path)
    with mounted(room.data, "size=64k"):
        fill(room.data / "ballast")
        assert "disk is full" in refusal(room)


def test_a_read_only_data_folder(tmp_path: Path) -> None:
    room = make_room(tmp_path)
    with mounted(room.data, "size=1m,ro"):
        assert re.search(r"(read-only|Read-only|cannot be written)", refusal(room))


def test_a_read_only_data_folder_of_another_user(room: Room) -> None:
    if not os.geteuid():
        pytest.skip("root may write everywhere")
    room.data.mkdir(mode=0o500)
    assert "writable" in refusal(room)


def test_a_file_in_place_of_the_data_folder(room: Room) -> None:
    room.data.write_text("I am no folder")
    assert str(room.data) in refusal(room)
    assert room.data.read_text() == "I am no folder"
    room.write("hello.yaml", "steps: [echo]\n")
    done = room.call("run", "hello.yaml")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(room.data) in done.stderr


def test_a_folder_in_place_of_the_database(room: Room) -> None:
    (room.data / "astrarium.db").mkdir(parents=True)
    assert "astrarium.db" in refusal(room)


def test_what_is_no_database(room: Room) -> None:
    room.data.mkdir()
    (room.data / "astrarium.db").write_bytes(b"these are not the bytes of a database" * 200)
    assert "not a database" in refusal(room) or "damaged" in refusal(room)
    assert (room.data / "astrarium.db").read_bytes().startswith(b"these are not")


def test_a_newer_database(room: Room, serve: Any) -> None:
    with serve() as server:
        run = server.begin("steps: [echo]")
        server.ended(run)
    path = room.data / "astrarium.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO schema_version VALUES (999, 'future', 1, '99.0')")
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    said = refusal(room)
    assert "schema 999, written by Astrarium 99.0" in said
    assert "use Astrarium 99.0 or newer" in said
    done = room.call("runs")
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == before, "a newer database is left as it is"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM schema_version WHERE number = 999")
        db.commit()
    with serve() as server:
        assert server.run(run)["status"] == 4


def test_a_second_writer_is_told_who_the_first_is(room: Room, serve: Any) -> None:
    with serve() as server:
        said = refusal(room)
        assert f"process {server.pid} on {socket.gethostname()}" in said
        program = (
            "import asyncio\nfrom pathlib import Path\nfrom astrarium.config import Settings\nfrom astrarium.worker import Worker\n"
            f"asyncio.run(Worker.open(Settings(data_dir=Path({str(room.data)!r}))))\n"
        )
        python = room.env | {"PYTHONUNBUFFERED": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=python, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1
        assert f"is being written by process {server.pid} on {socket.gethostname()}" in done.stderr
        assert server.done("steps: [echo]")["status"] == 4


def test_a_port_in_use(room: Room, serve: Any) -> None:
    with serve() as server:
        port = server.url.rpartition(":")[2]
        said = refusal(room, "--data-dir", str(room.folder / "other"), "--port", port)
        assert re.search(rf"port {port} of 127\.0\.0\.1 is in use", said)
        assert "--port" in said
        assert server.get("/health")["status"] == "healthy"
    assert not (room.folder / "other" / "server.json").exists()


@pytest.mark.parametrize("port", ["-1", "65536", "http", ""])
def test_what_is_no_port(room: Room, port: str) -> None:
    done = room.call("server", "--port", port)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_dags_folder_that_is_a_file(room: Room) -> None:
    place = room.write("no-folder", "")
    with serving(room, "--dags-dir", str(place)) as server:
        told = server.call("GET", "/dags")
        assert told.status_code in (200, 503), told.text
        server.refused(server.call("POST", "/dags", {"name": "x"}), 503)
        assert server.done("workingDir: /tmp\nsteps: [{type: noop}]")["status"] == 4


def test_a_log_folder_that_cannot_be_written_fails_the_step_and_says_why(room: Room, serve: Any) -> None:
    with serve() as server:
        server.done("steps: [echo]")
        logs = room.data / "logs"
        subprocess.run(["rm", "-rf", str(logs)], check=True)
        logs.write_text("")
        found = server.done("steps: [echo]")
        assert found["status"] == 2
        assert "logs" in found["nodes"][0]["error"]
        logs.unlink()
        assert server.done("steps: [echo]")["status"] == 4
