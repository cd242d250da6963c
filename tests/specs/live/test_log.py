"""What a step writes, seen as it is written: byte for byte, over tries and attempts, from any place on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.served import Server
from tests.specs.http.conftest import server, start_server
from tests.specs.live.stream import Frame, frames, take, text_of

__all__ = ["server", "start_server"]
pytestmark = pytest.mark.net

TALK = """
steps:
  - name: talk
    command: |
      echo one
      printf 'half '
      until [ -e {go} ]; do sleep 0.02; done
      echo "line é 漢"
      echo wrong >&2
"""
TWICE = """
steps:
  - name: twice
    command: 'echo "try $(ls {folder} | wc -l)"; touch {folder}/x$$; exit 3'
    retryPolicy: {{limit: 1, intervalSec: 0}}
"""
ABOVE = "steps:\n  - name: calls\n    call: below\n---\nname: below\nsteps:\n  - name: inner\n    command: echo from below\n"


def test_a_line_is_seen_while_it_is_written(server: Server, tmp_path: Path) -> None:
    server.add("talk.yaml", TALK.format(go=tmp_path / "go"))
    run = server.start("talk")
    found: list[Frame] = []
    for frame in frames(server, f"/dag-runs/talk/{run}/steps/talk/log/stream"):
        found.append(frame)
        if text_of(found) == "one\nhalf ":
            (tmp_path / "go").touch()  # the step goes on once its unfinished line was seen
    assert found[0].event == "try" and found[0].data == {"step": "talk", "stream": "stdout", "attempt": 1, "tryNo": 1}
    assert text_of(found) == "one\nhalf line é 漢\n"
    assert found[-1].event == "end" and found[-1].data["statusLabel"] == "succeeded"
    errors = list(frames(server, f"/dag-runs/talk/{run}/steps/talk/log/stream", stream="stderr"))
    assert text_of(errors) == "wrong\n"


def test_a_client_may_go_on_at_any_byte(server: Server, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    server.add("talk.yaml", TALK.format(go=tmp_path / "go"))
    run = server.start("talk")
    path = f"/dag-runs/talk/{run}/steps/talk/log/stream"
    server.ended("talk", run)
    data = "one\nhalf line é 漢\n".encode()
    for offset in range(len(data)):
        rest = list(frames(server, path, f"1.1.{offset}"))
        assert text_of(rest) == data[offset:].decode("utf-8", "replace")
        assert rest[-2].id == f"1.1.{len(data)}" and rest[-1].event == "end"
    assert list(frames(server, path, f"1.1.{len(data)}")) == [], "204: nothing more will come"
    assert text_of(list(frames(server, path, after="4", **{}))) == "half line é 漢\n"


def test_every_try_and_attempt_is_announced(server: Server, tmp_path: Path) -> None:
    server.add("twice.yaml", TWICE.format(folder=tmp_path))
    run = server.start("twice")
    path = f"/dag-runs/twice/{run}/steps/twice/log/stream"
    found = list(frames(server, path))
    assert [(frame.data.get("tryNo"), frame.data.get("text")) for frame in found[:-1]] == [
        (1, None), (None, "try 0\n"), (2, None), (None, "try 1\n"),
    ]  # fmt: skip
    assert [frame.id for frame in found[:-1]] == ["1.1.0", "1.1.6", "1.2.0", "1.2.6"]
    assert text_of(list(frames(server, path, "1.1.6"))) == "try 1\n"
    assert server.call("POST", f"/dag-runs/twice/{run}/retry", {"dagRunId": run}).status_code == 200
    again = list(frames(server, path, found[-2].id))
    assert (again[0].data["attempt"], again[0].data["tryNo"]) == (2, 1)
    assert text_of(again) == "try 2\ntry 3\n"


def test_a_step_that_never_runs_ends_its_stream(server: Server) -> None:
    server.add("never.yaml", "steps:\n  - name: fails\n    command: exit 1\n  - name: never\n    command: echo never\n")
    run = server.start("never")
    found = list(frames(server, f"/dag-runs/never/{run}/steps/never/log/stream"))
    assert [frame.event for frame in found] == ["end"]
    assert found[0].data["statusLabel"] == "aborted"


def test_the_output_of_a_sub_run(server: Server) -> None:
    server.add("above.yaml", ABOVE)
    run = server.start("above")
    server.ended("above", run)
    sub = server.get(f"/dag-runs/above/{run}/sub-dag-runs")["subRuns"][0]["dagRunId"]
    below = f"/dag-runs/above/{run}/sub-dag-runs/{sub}"
    assert text_of(list(frames(server, below + "/steps/inner/log/stream"))) == "from below\n"
    assert list(frames(server, below + "/events"))[-2].data["type"] == "run.ended"
    assert "run succeeded" in text_of(list(frames(server, below + "/log/stream")))


def test_a_file_of_the_steps_own(server: Server, tmp_path: Path) -> None:
    server.add("own.yaml", f"steps:\n  - name: own\n    command: echo mine\n    stdout: {tmp_path}/deep/own.log\n")
    run = server.start("own")
    assert text_of(list(frames(server, f"/dag-runs/own/{run}/steps/own/log/stream"))) == "mine\n"


def test_a_file_only_the_try_knows_is_followed_from_its_first_line(server: Server, tmp_path: Path) -> None:
    spec = (
        "steps:\n  - {name: first, command: echo 7, output: NUMBER}\n"
        f"  - name: own\n    env: [{{KIND: '`echo log`'}}]\n    stdout: {tmp_path}/own-${{NUMBER}}.$KIND\n    logOutput: merged\n"
        f"    command: |\n      echo mine\n      until [ -e {tmp_path}/go ]; do sleep 0.02; done\n      echo both >&2\n"
    )
    server.add("own.yaml", spec)
    run = server.start("own")
    found: list[Frame] = []
    for frame in frames(server, f"/dag-runs/own/{run}/steps/own/log/stream", stream="stderr"):
        found.append(frame)
        if text_of(found) == "mine\n":
            (tmp_path / "go").touch()
    assert text_of(found) == "mine\nboth\n" == (tmp_path / "own-7.log").read_text()
    assert found[0].data == {"step": "own", "stream": "stderr", "attempt": 1, "tryNo": 1}


def test_secrets_are_not_in_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("very-secret-4711")
    spec = f'secrets: [{{name: KEY, provider: file, key: {tmp_path}/key}}]\nsteps:\n  - name: leak\n    command: echo "<$KEY>"; exit 1\n'
    server.add("leak.yaml", spec)
    run = server.start("leak")
    told = list(frames(server, f"/dag-runs/leak/{run}/steps/leak/log/stream")) + list(
        frames(server, f"/dag-runs/leak/{run}/events")
    )
    assert text_of(told).startswith("<") and "4711" not in str(told)


def test_a_client_that_goes_away_in_the_middle_misses_nothing(server: Server, tmp_path: Path) -> None:
    go = tmp_path / "go"
    server.add("talk.yaml", TALK.format(go=go))
    run = server.start("talk")
    path = f"/dag-runs/talk/{run}/steps/talk/log/stream"
    found = take(frames(server, path), 2)
    go.touch()
    rest = list(frames(server, path, found[-1].id))
    assert text_of(found + rest) == "one\nhalf line é 漢\n"


@pytest.mark.all
def test_a_restart_of_the_server(start_server: Callable[..., Server], tmp_path: Path) -> None:
    first = start_server()
    first.add("talk.yaml", TALK.format(go=tmp_path / "go"))
    (tmp_path / "go").touch()
    run = first.start("talk")
    path = f"/dag-runs/talk/{run}/steps/talk/log/stream"
    found = take(frames(first, path), 2)
    first.ended("talk", run)
    first.signal()
    rest = list(frames(start_server(), path, found[-1].id))
    assert text_of(found + rest) == "one\nhalf line é 漢\n"
