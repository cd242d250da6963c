"""Large things: ten thousand steps, a hundred megabytes of output, bytes that are no text. The server's memory stays flat."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.specs.cli.room import Room

pytestmark = [pytest.mark.net, pytest.mark.slow, pytest.mark.all]

MANY = 10_000
MEGABYTES = 100
LINE = "0123456789" * 10


def definition(shape: str) -> str:
    """Ten thousand steps, every 2500th a process: one after the other, or all beside each other between a first and a last."""
    kinds = [f"command: echo step {number}" if number % 2500 == 1 else "type: noop" for number in range(MANY)]
    if shape == "chain":
        return "steps:\n" + "".join(f"  - name: s{number}\n    {kind}\n" for number, kind in enumerate(kinds))
    middle = "".join(f"  - {{name: s{number}, {kind}, depends: s0}}\n" for number, kind in enumerate(kinds[1:-1], 1))
    last = f"  - name: s{MANY - 1}\n    type: noop\n    depends: [{', '.join(f's{number}' for number in range(1, MANY - 1))}]\n"
    return f"type: graph\nsteps:\n  - {{name: s0, type: noop}}\n{middle}{last}"


@pytest.mark.parametrize("shape", ["chain", "fan"])
def test_ten_thousand_steps_over_http(server: Any, shape: str) -> None:
    spec = definition(shape)
    assert server.call("POST", "/dags/validate", {"spec": spec}).json()["valid"]
    run = server.begin(spec)
    found = server.ended(run, seconds=100)
    assert found["status"] == 4
    assert [node["step"]["name"] for node in found["nodes"]] == [f"s{number}" for number in range(MANY)]
    assert {node["status"] for node in found["nodes"]} == {4}
    assert server.log(run, "s2501")["content"] == "step 2501"
    assert server.get(f"/dag-runs/adhoc/{run}/spec")["spec"] == spec
    assert server.get(f"/dag-runs/adhoc/{run}/log", tail=5)["lineCount"] == 5
    assert server.call("POST", f"/dag-runs/adhoc/{run}/retry", {"dagRunId": run, "stepName": f"s{MANY - 1}"}).status_code == 200
    assert server.ended(run)["status"] == 4


@pytest.mark.parametrize("shape", ["chain", "fan"])
def test_ten_thousand_steps_without_a_server(room: Room, shape: str) -> None:
    room.write("many.yaml", definition(shape))
    done = room.call("run", "--json", "many.yaml", seconds=100)
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)
    assert document["status"] == "succeeded"
    assert len(document["steps"]) == MANY


def test_a_cycle_through_ten_thousand_steps_is_told(server: Any) -> None:
    steps = "".join(f"  - {{name: s{number}, type: noop, depends: s{(number or MANY) - 1}}}\n" for number in range(MANY))
    told = server.refused(server.call("POST", "/dag-runs", {"spec": f"type: graph\nsteps:\n{steps}", "name": "x"}), 400)
    assert "circle" in told["message"]
    assert len(told["message"]) < 2000


def test_a_hundred_megabytes_of_output(room: Room, serve: Any) -> None:
    room.env["ASTRARIUM_LOG_MAX_BYTES"] = str(1 << 30)
    command = f"yes {LINE} | head -n {MEGABYTES * 10_000}"
    with serve() as server:
        server.done("steps: ['echo warm']")
        before = server.memory_mib()
        run = server.begin(f"steps:\n  - name: much\n    command: {command} ; echo the end\n")
        assert server.ended(run)["status"] == 4
        lines = MEGABYTES * 10_000 + 1
        assert server.log(run, "much", tail=1) == {"content": "the end", "lineCount": 1, "totalLines": lines, "hasMore": True}
        assert server.log(run, "much", offset=lines)["content"] == "the end"
        for offset in (1, lines // 2, lines - 10_000):
            page = server.log(run, "much", offset=offset, limit=10_000)
            assert (page["lineCount"], page["totalLines"]) == (10_000, lines)
            assert page["content"].startswith(LINE + "\n")
        assert server.log(run, "much", offset=lines + 1)["lineCount"] == 0
        assert server.memory_mib() - before < 40, "the log passes through, it is not kept"
    said = room.call("logs", run, "much", "--tail", "2")
    assert said.stdout == f"{LINE}\nthe end\n", said.stderr


def test_captured_and_redacted_output_of_a_hundred_megabytes(room: Room, serve: Any) -> None:
    room.env["HUSH"] = "s3cr3t-value-0987"
    spec = "secrets: [{name: HUSH, provider: env, key: HUSH}]\nsteps:\n  - name: much\n    output: ALL\n"
    spec += f"    command: echo $HUSH; yes {LINE} | head -n {MEGABYTES * 10_000}\n"
    with serve() as server:
        server.done("steps: ['echo warm']")
        before = server.memory_mib()
        run = server.begin(spec)
        found = server.ended(run)
        assert found["status"] in (2, 4), found
        assert server.log(run, "much", head=1)["content"] == "*******"
        assert server.memory_mib() - before < 60
        assert "the log keeps at most" in server.log(run, "much", tail=1)["content"]


def test_one_endless_line(server: Any) -> None:
    run = server.begin("steps:\n  - name: line\n    command: head -c 50000000 /dev/zero | tr '\\0' x\n")
    assert server.ended(run)["status"] == 4
    before = server.memory_mib()
    page = server.log(run, "line")
    assert page["lineCount"] == 1
    assert len(page["content"]) < 70_000
    assert "bytes more in this line" in page["content"]
    assert server.memory_mib() - before < 20


def test_bytes_that_are_no_text(server: Any) -> None:
    command = r"head -c 3000000 /dev/urandom; printf '\n\000\377\376\033[31mred\n'"
    run = server.begin(
        f"steps:\n  - name: raw\n    command: {command}\n  - name: kept\n    command: printf 'a\\377b'\n    output: ODD\n"
    )
    found = server.ended(run)
    assert found["status"] == 4, found["nodes"]
    assert server.log(run, "raw", tail=1)["content"] == "\0\ufffd\ufffd\x1b[31mred"
    assert server.log(run, "raw", limit=10_000)["lineCount"] > 1000
    assert server.get(f"/dag-runs/adhoc/{run}/outputs")["outputs"] == {"odd": "a\ufffdb"}
    shown = server.room.call("logs", run, "raw")
    assert shown.returncode == 0, shown.stderr
