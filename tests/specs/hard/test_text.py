"""Hostile and broken DAG texts: refused with every problem and its place, at any size, without hurting the server."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.net

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BROKEN = {
    "a tab for indentation": ("steps:\n\t- echo\n", "not valid YAML", 2),
    "an open bracket": ("steps: [echo\n", "not valid YAML", 2),
    "an unknown anchor": ("steps: *nowhere\n", "unknown alias", 1),
    "an alias inside itself": ("env: &e [*e]\nsteps: [echo]\n", "stands inside what it names", 1),
    "a duplicate key": ("steps: [echo]\nsteps: [echo]\n", "duplicate key", 2),
    "a control character": ("steps: [\"echo \x07\"]\n", "control characters", 1),
    "a NUL by escape": ('steps:\n  - name: a\n    command: "echo \\0"\n', "NUL character", 3),
    "a NUL in a name": ('steps: [{name: "a\\0b", command: echo}]\n', "NUL character", 1),
    "half a surrogate": ('steps: ["echo \\ud800"]\n', "not valid YAML", 1),
    "an alias bomb": (BOMB + "steps: [echo]\n", "once aliases are expanded", 0),
    "deep lists": ("steps: " + "[" * 5000 + "]" * 5000, "nested deeper", 1),
    "deep maps": ("".join(" " * depth + "a:\n" for depth in range(2000)), "nested deeper", 65),
    "nothing": ("", "the file is empty", 1),
    "only a comment": ("# nothing here\n", "the file is empty", 1),
    "a list": ("- steps\n", "must be a map", 1),
    "a scalar": ("42\n", "must be a map", 1),
    "binary": ("steps: !!binary aGVsbG8=\n", "must be a list or a map", 1),
    "an unknown key": ("step: [echo]\nsteps: [echo]\n", "did you mean `steps`", 1),
    "an unknown step key": ("steps:\n  - command: echo\n    depend: x\n", "did you mean `depends`", 3),
    "an unknown step type": ("steps:\n  - type: dcoker\n    command: x\n", "did you mean `docker`", 2),
    "an unknown step": ("type: graph\nsteps:\n  - {name: a, command: x, depends: b}\n", "b", 3),
    "a step on itself": ("type: graph\nsteps:\n  - {name: a, command: x, depends: a}\n", "depends on itself", 3),
    "a circle": (
        "type: graph\nsteps:\n  - {name: a, command: x, depends: c}\n  - {name: b, command: x, depends: a}\n"
        "  - {name: c, command: x, depends: b}\n",
        "circle", 3,
    ),
    "two steps of one name": ("steps:\n  - {name: a, command: x}\n  - {name: a, command: x}\n", "a", 3),
    "a number past all": ("timeoutSec: 99999999999999999999999999\nsteps: [echo]\n", "timeoutSec", 1),
    "a number too large": ("timeoutSec: 999999999999999999\nsteps: [echo]\n", "at most 10,000,000,000", 1),
    "no number": ("timeoutSec: .nan\nsteps: [echo]\n", "whole number", 1),
    "less than nothing": ("maxActiveSteps: -5\nsteps: [echo]\n", "at least 0", 1),
    "a bad schedule": ("schedule: '61 * * * *'\nsteps: [echo]\n", "bad schedule", 1),
    "a huge name": ("steps: [{name: " + "n" * 100_000 + ", command: x}]\n", "longer than", 1),
    "a path as a name": ("name: ../../etc/passwd\nsteps: [echo]\n", "may hold letters", 1),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_text_is_refused_with_its_place(server: Any, what: str) -> None:
    text, said, line = BROKEN[what]
    checked = server.call("POST", "/dags/validate", {"spec": text}).json()
    assert not checked["valid"]
    for path, body in (("/dag-runs", {"spec": text, "name": "x"}), ("/dags", {"spec": text, "name": "x"})):
        told = server.refused(server.call("POST", path, body), 400)
        problems = told["details"]["problems"]
        fitting = [problem for problem in problems if said in problem["message"]]
        assert fitting, problems
        assert all(problem["line"] >= 1 for problem in problems)
        assert not line or line in {problem["line"] for problem in fitting}, fitting
        assert len(str(problems)) < 400_000
    assert server.call("GET", "/dags/x").status_code == 404


def test_every_problem_is_told_at_once(server: Any) -> None:
    steps = "".join(f"  - {{name: s{number}, comand: x}}\n" for number in range(300))
    told = server.refused(server.call("POST", "/dag-runs", {"spec": f"steps:\n{steps}", "name": "x"}), 400)
    assert 100 <= len(told["details"]["problems"]) <= 102
    assert "more problems" in told["details"]["problems"][-1]["message"]


def test_a_broken_file_is_in_nobodys_way(server: Any) -> None:
    server.add("broken.yaml", "steps: [")
    (server.room.dags / "bytes.yaml").write_bytes(b"steps: [echo \xff\xfe]\n")
    (server.room.dags / "folder.yaml").mkdir()
    (server.room.dags / "loop.yaml").symlink_to(server.room.dags / "loop.yaml")
    (server.room.dags / "gone.yaml").symlink_to("/nowhere")
    server.add("good.yaml", "steps: [echo good]\n")
    errors = {one["fileName"]: one["errors"] for one in server.get("/dags")["dags"]}
    assert errors["good.yaml"] == []
    assert "not valid YAML" in errors["broken.yaml"][0]
    assert "UTF-8" in errors["bytes.yaml"][0]
    assert server.call("GET", "/dags/folder").status_code in (200, 404)
    run = server.call("POST", "/dags/good/start", {}).json()["dagRunId"]
    assert server.ended(run, "good")["status"] == 4


def test_words_of_all_languages(server: Any) -> None:
    spec = (
        'params: WORT=süß\nsteps:\n  - name: "шаг 🚀 ä/../b"\n    command: printf "%s|%s" "$WORT" "日本 🎌"\n    output: SAID\n'
    )
    run = server.begin(spec)
    found = server.ended(run)
    assert found["status"] == 4, found
    assert server.get(f"/dag-runs/adhoc/{run}/outputs")["outputs"] == {"said": "süß|日本 🎌"}
    step = found["nodes"][0]
    assert step["step"]["name"] == "шаг 🚀 ä/../b"
    logs = server.room.data / "logs"
    assert logs.resolve() in server.room.data.joinpath(step["stdout"]).resolve().parents
    assert server.call("GET", f"/dag-runs/adhoc/{run}/spec").json()["spec"] == spec


@pytest.mark.parametrize("params", ["\0", "A=\0", "x" * 9_000_000])
def test_parameters_no_process_could_get(server: Any, params: str) -> None:
    server.refused(server.call("POST", "/dag-runs", {"spec": "steps: [echo]", "name": "x", "params": params}), 400, 413)


@pytest.mark.parametrize(
    "params", ["[" * 5000, '{"a": ' * 5000, '{"A": 1e999}', "'unclosed", "$(id)", "=", "--", "A=" + "x" * 100_000]
)
def test_odd_parameters_are_texts(server: Any, params: str) -> None:
    found = server.done("steps: ['true']", params=params)
    assert found["status"] == 4, found


def test_a_parameter_longer_than_a_process_can_take_fails_its_step_only(server: Any) -> None:
    found = server.done("steps: ['echo $A']", params="A=" + "x" * 200_000)
    assert found["status"] == 2
    assert "too long" in found["nodes"][0]["error"]
