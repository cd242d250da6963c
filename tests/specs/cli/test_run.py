"""`astrarium run` without a server: real processes, real files."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.specs.cli.room import Room, until

HELLO = """
params: NAME=world
steps:
  - name: fetch
    command: echo "hello ${NAME}"
    output: GREETING
  - name: shout
    command: echo "${GREETING}" | tr a-z A-Z
    depends: fetch
"""


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_run_to_a_pipe_is_lines(room: Room) -> None:
    room.write("hello.yaml", HELLO)
    lines = room.ok("run", "hello.yaml", "--", "NAME=two words").splitlines()
    assert lines[0].split()[0] == "hello"
    assert [line.partition(" in ")[0] for line in lines[1:]] == [
        "fetch: started",
        "fetch | hello two words",
        "fetch: succeeded",
        "shout: started",
        "shout | HELLO TWO WORDS",
        "shout: succeeded",
        "greeting = hello two words",
        "hello: succeeded",
    ]


def test_json_is_one_document(room: Room) -> None:
    room.write("hello.yaml", HELLO)
    document = room.document("run", "hello.yaml", "--run-id", "mine", "--name", "greet", "-p", '{"NAME": "you"}')
    assert (document["id"], document["name"], document["status"]) == ("mine", "greet", "succeeded")
    assert document["outputs"] == {"greeting": "hello you"}
    assert [(step["name"], step["status"], step["after"]) for step in document["steps"]] == [
        ("fetch", "succeeded", []),
        ("shout", "succeeded", ["fetch"]),
    ]
    again = room.call("run", "hello.yaml", "--run-id", "mine", "--name", "greet")
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_exit_codes(room: Room) -> None:
    room.write("good.yaml", "steps: ['true']")
    room.write("bad.yaml", "steps: ['false']")
    room.write(
        "partial.yaml",
        "steps:\n  - name: a\n    command: 'false'\n    continueOn: {failure: true}\n  - name: b\n    command: 'true'\n",
    )
    assert room.call("run", "good.yaml").returncode == 0
    assert room.call("run", "bad.yaml").returncode == 1
    assert room.document("run", "partial.yaml")["status"] == "partial"
    assert room.call("run", "missing.yaml").returncode == 1
    assert room.call("run", "good.yaml", "-p", "a", "--", "b").returncode == 2
    assert room.call("run", "good.yaml", "--run-id", "latest").returncode == 2
    assert room.call("run", "good.yaml", "--detach").returncode == 2


def test_a_failed_run_says_why(room: Room) -> None:
    room.write("bad.yaml", "steps:\n  - name: look\n    command: echo no such thing >&2; exit 3\n")
    done = room.call("run", "bad.yaml")
    assert done.returncode == 1
    assert "look: failed" in done.stdout
    assert "exit code 3" in done.stdout
    assert "no such thing" in done.stdout


def test_relative_paths_count_from_the_file(room: Room) -> None:
    (room.folder / "far").mkdir()
    room.write("far/here.yaml", "steps:\n  - command: pwd > where.txt\n")
    room.ok("run", "far/here.yaml")
    assert (room.folder / "far" / "where.txt").read_text().strip() == str((room.folder / "far").resolve())


def test_a_file_beside_it_is_a_child(room: Room) -> None:
    room.write("parent.yaml", "steps:\n  - name: each\n    call: child\n    parallel: [a, b]\n    params: X=${ITEM}\n")
    room.write("child.yaml", "params: X=none\nsteps:\n  - name: say\n    command: echo got $X\n    output: SAID\n")
    document = room.document("run", "parent.yaml")
    children = document["steps"][0]["children"]
    assert [child["outputs"] for child in children] == [{"said": "got a"}, {"said": "got b"}]
    assert [run["name"] for run in room.document("runs")] == ["parent"]
    assert len(room.document("runs", "--children")) == 3


def test_a_dag_of_the_folder_by_its_name(room: Room) -> None:
    room.write("dags/nightly.yaml", HELLO)
    assert "nightly: succeeded" in room.ok("run", "nightly")
    listed = room.ok("dags").rstrip("\n").split("\t")
    assert listed[:3] == ["nightly", "nightly.yaml", "2"]
    assert listed[4] == "succeeded"


def test_broken_files_are_told_with_their_places(room: Room) -> None:
    room.write("bad.yaml", "steps:\n  - name: a\n    comand: echo\n  - name: b\n    command: echo\n    depends: c\n")
    for words in (("validate", "bad.yaml"), ("run", "bad.yaml")):
        done = room.call(*words)
        assert done.returncode == 1
        told = done.stdout + done.stderr
        assert "bad.yaml:3:5: unknown key `comand`, did you mean `command`?" in told
        assert "bad.yaml:6:" in told
    assert not room.data.exists()


def test_validate_speaks_json(room: Room) -> None:
    room.write("good.yaml", HELLO)
    room.write("bad.yaml", "steps: [")
    (room.folder / "latin.yaml").write_bytes(b"# \xff")
    document = room.document("validate", "good.yaml", "bad.yaml", "none.yaml", "latin.yaml", code=1)
    assert [report["valid"] for report in document["files"]] == [True, False, False, False]
    assert all(report["problems"][0]["file"] == report["file"] for report in document["files"][1:])
    assert room.call("validate", "good.yaml").stdout == "good.yaml: valid, 2 steps\n"
    assert room.call("validate").returncode == 2


SLOW = """
type: graph
maxCleanUpTimeSec: 60
steps:
  - name: obeys
    command: touch obeys.began; exec sleep {mark}1
  - name: ignores
    script: |
      trap '' TERM
      touch ignores.began
      while :; do sleep {mark}2; done
handlerOn:
  abort:
    command: touch stopped.txt
"""


def test_ctrl_c_stops_and_leaves_no_process(room: Room) -> None:
    mark = f"7{os.getpid()}"
    room.write("slow.yaml", SLOW.replace("{mark}", mark))
    with room.begun("run", "slow.yaml") as process:
        until(lambda: all((room.folder / f"{name}.began").exists() for name in ("obeys", "ignores")), "both steps")
        process.send_signal(signal.SIGINT)
        until(lambda: not room.processes(f"{mark}1"), "the end of the step that obeys")
        assert process.poll() is None, "the other one is still waited for"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert "slow: cancelled" in out
    assert (room.folder / "stopped.txt").exists()
    assert room.processes(mark) == []
    assert room.document("status", "latest")["status"] == "cancelled"


def test_what_a_killed_run_left_is_gone_after_the_next_start(room: Room) -> None:
    mark = f"8{os.getpid()}"
    room.write("slow.yaml", f"steps:\n  - command: touch began; exec sleep {mark}\n")
    room.write("next.yaml", "steps: ['true']")
    with room.begun("run", "slow.yaml", "--run-id", "victim") as process:
        until((room.folder / "began").exists, "the step")
        process.kill()
        process.wait()
    room.ok("run", "next.yaml")
    until(lambda: not room.processes(mark), "the end of what was left")


def test_retry_without_a_server(room: Room) -> None:
    room.write(
        "half.yaml",
        "steps:\n  - name: once\n    command: echo x >> once.txt\n  - name: later\n    command: test -f ready.txt\n",
    )
    assert room.call("run", "half.yaml", "--run-id", "r1").returncode == 1
    room.write("ready.txt", "")
    document = room.document("retry", "r1")
    assert (document["status"], document["round"]) == ("succeeded", 2)
    assert (room.folder / "once.txt").read_text() == "x\n"
    assert room.document("retry", "half", "--step", "once")["status"] == "succeeded"
    assert (room.folder / "once.txt").read_text() == "x\nx\n"
    assert room.call("retry", "r1", "--step", "none").returncode == 1


def test_logs(room: Room) -> None:
    room.write("talk.yaml", "steps:\n  - name: a\n    command: seq 1 5; echo oops >&2\n  - name: bee\n    command: printf end\n")
    room.ok("run", "talk.yaml")
    assert room.ok("logs", "latest", "a", "--stdout") == "1\n2\n3\n4\n5\n"
    assert room.ok("logs", "latest", "a", "--stderr") == "oops\n"
    assert room.ok("logs", "talk", "a", "--stdout", "--tail", "2") == "4\n5\n"
    assert room.ok("logs", "latest").splitlines()[-2:] == ["a   | oops", "bee | end"]
    assert room.ok("logs", "-f", "latest").splitlines()[-2:] == ["a   | oops", "bee | end"]
    assert room.document("logs", "latest", "bee")[0]["content"] == "end"
    assert room.call("logs", "latest", "none").returncode == 1


def test_logs_are_followed_while_they_grow(room: Room) -> None:
    room.write("grow.yaml", "steps:\n  - name: a\n    command: echo one; while [ ! -f go ]; do sleep 0.05; done; echo two\n")
    with room.begun("run", "grow.yaml", "--run-id", "g"):
        until(lambda: room.call("status", "g").returncode == 0, "the run")
        with room.begun("logs", "-f", "g", "a", "--stdout") as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "one\n"
            room.write("go", "")
            assert reader.stdout.read() == "two\n"
            assert reader.wait(30) == 0


def test_lists_to_a_pipe_are_columns(room: Room) -> None:
    room.write("good.yaml", "steps: ['true']")
    room.write("bad.yaml", "steps: ['false']")
    room.ok("run", "good.yaml", "--run-id", "r-1")
    room.call("run", "bad.yaml", "--run-id", "r-2")
    rows = [line.split("\t") for line in room.ok("runs").splitlines()]
    assert [row[:3] for row in rows] == [["r-2", "bad", "failed"], ["r-1", "good", "succeeded"]]
    assert [row[0] for row in (line.split("\t") for line in room.ok("runs", "--status", "failed").splitlines())] == ["r-2"]
    assert room.ok("runs", "--name", "oo", "--limit", "1").startswith("r-1\t")
    assert room.ok("status", "r-1").startswith("run\tr-1\tgood\tsucceeded\t")
    several = room.call("status", "r-")
    assert several.returncode == 2
    assert "r-1" in several.stderr
    assert room.call("status", "nothing").returncode == 1
    assert room.call("runs", "--status", "finished").returncode == 2
    stopped = room.call("stop", "r-1")
    assert stopped.returncode == 1
    assert "has ended already" in stopped.stderr


def test_nothing_there_yet(room: Room) -> None:
    for words in (("runs",), ("status", "latest"), ("logs", "latest")):
        done = room.call(*words)
        assert done.returncode == 1
        assert "no database" in done.stderr
        assert "hint:" in done.stderr
    assert room.ok("dags") == ""


def test_two_at_once_are_refused(room: Room) -> None:
    room.write("slow.yaml", "steps:\n  - command: touch began; while [ ! -f go ]; do sleep 0.05; done\n")
    room.write("good.yaml", "steps: ['true']")
    with room.begun("run", "slow.yaml") as process:
        until((room.folder / "began").exists, "the step")
        done = room.call("run", "good.yaml")
        assert done.returncode == 1
        assert f"process {process.pid}" in done.stderr
        stopped = room.call("stop", "latest")
        assert stopped.returncode == 1
        assert "Ctrl-C" in stopped.stderr
        room.write("go", "")
        assert process.wait(30) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_data_folder(room: Room) -> None:
    room.write("good.yaml", "steps: ['true']")
    room.data.mkdir(mode=0o500)
    done = room.call("run", "good.yaml")
    assert done.returncode == 1
    assert str(room.data) in done.stderr
    assert "--data-dir" in done.stderr


def test_a_data_folder_that_cannot_be_made(room: Room) -> None:
    room.write("good.yaml", "steps: ['true']")
    room.write("data", "a file, no folder")
    done = room.call("run", "good.yaml")
    assert done.returncode == 1
    assert "internal error" not in done.stderr
    assert str(room.data) in done.stderr
    assert "--data-dir" in done.stderr


def test_a_reader_that_leaves_is_no_error(room: Room) -> None:
    room.write("much.yaml", "steps:\n  - name: a\n    command: seq 1 200000\n")
    room.ok("run", "much.yaml")
    with room.begun("logs", "latest", "a") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "1\n"
        process.stdout.close()
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.stderr.read() == ""
