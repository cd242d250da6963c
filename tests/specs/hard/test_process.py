"""Processes that do not behave, a server that stops under them, and what their environment holds."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest

from tests.specs.cli.room import Room, until
from tests.specs.hard.conftest import PLANTED, alive, wait_gone, written

pytestmark = [pytest.mark.all, pytest.mark.net, pytest.mark.slow]

STUBBORN = """maxCleanUpTimeSec: 1
steps:
  - name: stubborn
    script: |
      #!/bin/sh
      trap '' TERM HUP INT
      echo $$ > {folder}/{name}
      sh -c 'trap "" TERM HUP INT; echo $$ > {folder}/{name}.child; while :; do sleep 0.2; done' &
      while :; do sleep 0.2; done
"""


def stubborn(room: Room, name: str) -> str:
    return STUBBORN.format(folder=room.folder, name=name)


def pids(room: Room, name: str) -> list[int]:
    return [int(written(room.folder / name)), int(written(room.folder / f"{name}.child"))]


def test_a_step_that_ignores_sigterm_is_killed_after_the_grace(server: Any) -> None:
    run = server.begin(stubborn(server.room, "ignored"))
    processes = pids(server.room, "ignored")
    assert server.call("POST", f"/dag-runs/adhoc/{run}/stop").status_code == 200
    found = server.ended(run)
    assert (found["status"], found["nodes"][0]["status"]) == (3, 3)
    wait_gone(processes)
    assert server.call("POST", f"/dag-runs/adhoc/{run}/stop").status_code == 400


def test_a_step_over_its_time_that_ignores_sigterm_is_killed(server: Any) -> None:
    run = server.begin(stubborn(server.room, "late") + "    timeoutSec: 1\n")
    found = server.ended(run)
    assert (found["status"], found["nodes"][0]["status"]) == (2, 2)
    wait_gone(pids(server.room, "late"))


def test_a_process_that_leaves_its_group_does_not_outlive_its_step(server: Any) -> None:
    folder = server.room.folder
    command = f"setsid sh -c 'echo $$ > {folder}/escaped; exec sleep 300' > /dev/null 2>&1 & sleep 300"
    run = server.begin(f'maxCleanUpTimeSec: 1\nsteps:\n  - name: a\n    command: "{command}"\n')
    pid = int(written(folder / "escaped"))
    server.call("POST", f"/dag-runs/adhoc/{run}/stop")
    assert server.ended(run)["status"] == 3
    wait_gone([pid])


@pytest.mark.all
def test_a_stopping_server_leaves_nothing_behind(room: Room, serve: Any) -> None:
    kinds = {"plain": "", "again": "    retryPolicy: {limit: 2, intervalSec: 0}\n"}
    with serve() as server:
        runs = {name: server.begin(stubborn(room, name) + more) for name, more in kinds.items()}
        processes = [pid for name in kinds for pid in pids(room, name)]
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert [pid for pid in processes if alive(pid)] == []
    for name in kinds:
        (room.folder / name).unlink()
    with serve() as server:
        lost = server.ended(runs["plain"])
        assert (lost["status"], lost["nodes"][0]["status"]) == (2, 2)
        assert "server" in lost["nodes"][0]["error"]
        assert not (room.folder / "plain").exists(), "a step without tries left is not run again"
        again = pids(room, "again")
        assert server.run(runs["again"])["status"] == 1
        server.call("POST", f"/dag-runs/adhoc/{runs['again']}/stop")
        assert server.ended(runs["again"])["status"] == 3
        wait_gone(again)


@pytest.mark.all
def test_a_second_signal_ends_the_server_at_once(room: Room, serve: Any) -> None:
    room.env["ASTRARIUM_DRAIN_TIMEOUT_S"] = "60"
    with serve() as server:
        server.begin(stubborn(room, "busy"))
        processes = pids(room, "busy")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.call("GET", "/health").status_code == 503, "the end of taking work", 15)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert [pid for pid in processes if alive(pid)] == []


def test_no_zombies(server: Any) -> None:
    for _ in range(5):
        assert server.done("steps: ['sh -c \"sleep 0.05 &\"', 'true']")["status"] == 4
    children = psutil.Process(server.pid).children(recursive=True)
    until(
        lambda: not [child for child in children if child.is_running() and child.status() == psutil.STATUS_ZOMBIE], "no zombies"
    )


SECRETS = ("s3cr3t-äöü-0123456789", "second+secret/with=signs")


def test_secrets_are_nowhere_but_in_the_process(room: Room, serve: Any) -> None:
    (room.dags / "token.txt").write_text(SECRETS[1] + "\n")
    room.env["SOURCE_OF_HUSH"] = SECRETS[0]
    spec = """secrets:
  - {name: HUSH, provider: env, key: SOURCE_OF_HUSH}
  - {name: TOKEN, provider: file, key: token.txt}
params: P=visible
env: [{BOTH: "x-${HUSH}"}]
steps:
  - name: tell
    command: printf '%s\\n%s\\n' "$HUSH" "$TOKEN"; printf '%s' "$HUSH" | base64; echo "$HUSH" >&2; test ${#TOKEN} = 24
    output: SAID
  - name: use
    command: echo "$SAID"; echo "got ${TOKEN} and $BOTH"
  - name: python
    type: jq
    config: {raw: true}
    command: '"${HUSH} " + .a'
    script: '{"a": "${TOKEN}"}'
    continueOn: {failure: true}
  - name: fail
    command: "nonexistent-program-$HUSH"
    continueOn: {failure: true}
  - name: http
    type: http
    command: "GET http://127.0.0.1:1/$TOKEN"
    continueOn: {failure: true}
  - name: unmet
    command: echo no
    preconditions: [{condition: "$HUSH", expected: "$TOKEN"}]
handlerOn:
  exit: echo bye $HUSH
"""
    with serve() as server:
        run = server.begin(spec)
        found = server.ended(run)
        told = [str(found), *(str(server.get(f"/dag-runs/adhoc/{run}/{what}")) for what in ("outputs", "log", "spec"))]
        assert [node["status"] for node in found["nodes"][:2]] == [4, 4], found["nodes"]
        for node in found["nodes"]:
            for stream in ("stdout", "stderr"):
                told.append(str(server.log(run, node["step"]["name"], stream=stream)))
        assert "*******" in told[1]
    told += [room.call(*words).stdout for words in (("status", run), ("logs", run), ("status", "--json", run))]
    for secret in SECRETS:
        assert [text for text in told if secret in text] == []
        holders = [path for path in room.data.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        holders = [path for path in holders if path != room.dags / "token.txt"]
        assert holders == [], "a secret lies in a file"
        assert secret not in (room.folder / "server.err").read_text()


def test_the_servers_own_environment_stays_its_own(server: Any) -> None:
    spec = "steps:\n  - name: env\n    command: env\n  - name: inner\n    command: cat /proc/self/environ | tr '\\0' '\\n'\n"
    spec += "  - name: py\n    type: python\n    config: {call: 'os:getenv', args: {key: PLANTED_SECRET}}\n"
    run = server.begin(spec)
    found = server.ended(run)
    assert found["nodes"][0]["status"] == 4, found["nodes"][0]
    said = "\n".join(server.log(run, name)["content"] for name in ("env", "inner", "py"))
    for name, value in PLANTED.items():
        assert value not in said, name
    names = {line.partition("=")[0] for line in said.splitlines()}
    assert {name for name in names if name.startswith("ASTRARIUM_")} <= {"ASTRARIUM_SERVER", "ASTRARIUM_TRY"}
    assert {"PATH", "DAG_RUN_ID"} <= names
    assert server.token not in said
    assert f"SERVER_PID={os.getpid()}" not in said


def test_variables_of_the_server_expand_to_nothing(server: Any) -> None:
    run = server.begin('steps:\n  - name: a\n    command: echo "[$PLANTED_SECRET][${AWS_SECRET_ACCESS_KEY}]"\n')
    server.ended(run)
    content = server.log(run, "a")["content"]
    assert not any(value in content for value in PLANTED.values()), content
