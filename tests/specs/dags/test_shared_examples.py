"""Real DAG files of the dialect's users behave as recorded, where those files are at hand. They are no part of the project.

Each is executed twice by one server: once asked for through the API, once by `astrarium run`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from astrarium.spec.dag_yaml.flow import camel_case
from astrarium.spec.params import parse_params, render
from tests.specs.hard.conftest import Served, make_room, serving

HERE = Path(__file__).resolve()
EXAMPLES = HERE.parents[4] / "shared" / "contracts" / "dagu-examples"
WORDS = {"succeeded": "succeeded", "partial": "partially_succeeded", "failed": "failed", "cancelled": "aborted"}
COUNTER = Path("/tmp/dagu-test-counter-repeat-on-exitcode")
"""One of the examples counts in this file; it must not be there before."""

pytestmark = [pytest.mark.all, pytest.mark.slow, pytest.mark.net]

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [json.loads(line) for line in (EXAMPLES / "expected.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, require: Callable[[str, bool, str], None]) -> Iterator[Served]:
    """A server over a copy of the files, so that nothing is written beside the originals."""
    require("shared", (EXAMPLES / "expected.jsonl").is_file(), "the example files are not beside this checkout")
    if shutil.which("bash") is None:
        pytest.skip("bash: some of the examples are written for it")
    room = make_room(tmp_path_factory.mktemp("examples"), SHELL="/bin/bash", ASTRARIUM_DEFAULT_SHELL="")
    shutil.copytree(EXAMPLES, room.dags, dirs_exist_ok=True)
    with serving(room) as server:
        yield server


def stem(row: Row) -> str:
    return Path(row["file"]).stem


def differences(row: Row, got: Row) -> list[str]:
    """What is not as recorded, of what was looked at."""
    found = [f"{key}: {got[key]!r}, not {row[key]!r}" for key in ("run_status", "steps") if got[key] != row[key]]
    told = got["outputs"]
    for name, value in row.get("outputs", {}).items():
        if told.get(name) != value.replace("$HOME", os.environ["HOME"]):
            found.append(f"output {name}: {told.get(name)!r}, not {value!r}")
    for name, parts in row.get("outputs_contains", {}).items():
        found += [f"output {name} lacks {part!r}" for part in parts if part not in told.get(name, "")]
    found += [f"output {name} is empty" for name in row.get("outputs_nonempty", []) if not told.get(name)]
    found += [f"output {name} is there" for name in row.get("outputs_absent", []) if name in told]
    for key in ("sub_runs", "handlers", "done_count", "params_stored"):
        wanted = row.get(key)
        if wanted and key in got and got[key] != wanted:
            found.append(f"{key}: {got[key]!r}, not {wanted!r}")
    for name, least in row.get("done_count_min", {}).items():
        if got.get("all_done", {}).get(name, least) < least:
            found.append(f"{name} was done {got['all_done'][name]} times, not {least}")
    return found


def by_variable(outputs: dict[str, str], row: Row) -> dict[str, str]:
    """The run's outputs under the names of the variables the row asks for."""
    asked = {
        *row.get("outputs", {}),
        *row.get("outputs_contains", {}),
        *row.get("outputs_nonempty", []),
        *row.get("outputs_absent", []),
    }
    return {name: outputs[camel_case(name)] for name in asked if camel_case(name) in outputs}


def through_api(served: Served, row: Row, run: str) -> Row:
    """What the API tells of the ended run."""
    found = served.ended(run, served.get(f"/dags/{stem(row)}")["dag"]["name"])
    name = found["name"]
    nodes = {node["step"]["name"]: node for node in found["nodes"]}
    passes = {name: node["doneCount"] for name, node in nodes.items()}
    hooks = {name: found.get(name) for name in ("onExit", "onSuccess", "onFailure", "onCancel")}
    return {
        "run_status": found["statusLabel"],
        "steps": {name: node["statusLabel"] for name, node in nodes.items()},
        "outputs": by_variable(served.get(f"/dag-runs/{name}/{run}/outputs")["outputs"], row),
        "sub_runs": {name: len(node["subRuns"]) for name, node in nodes.items() if node.get("subRuns")},
        "handlers": {name: node["statusLabel"] for name, node in hooks.items() if node},
        "done_count": {name: passes[name] for name in row.get("done_count", {})},
        "params_stored": render(parse_params(found.get("params"))),
        "all_done": passes,
    }


def test_through_the_api(served: Served, rows: list[Row]) -> None:
    COUNTER.unlink(missing_ok=True)
    runs = [row for row in rows if row["kind"] == "run"]
    begun = [served.call("POST", f"/dags/{stem(row)}/start", {"params": row["params"]}) for row in runs]
    assert {row["file"]: answer.text for row, answer in zip(runs, begun, strict=True) if answer.status_code != 200} == {}
    got = [through_api(served, row, answer.json()["dagRunId"]) for row, answer in zip(runs, begun, strict=True)]
    wrong = {row["file"]: found for row, seen in zip(runs, got, strict=True) if (found := differences(row, seen))}
    assert not wrong, json.dumps(wrong, indent=1)
    assert len(runs) > 40


@pytest.mark.parametrize(
    "every", [pytest.param(6, id="some"), pytest.param(1, id="all", marks=[pytest.mark.all, pytest.mark.timeout(400)])]
)
def test_through_the_command(served: Served, rows: list[Row], every: int) -> None:
    """A process for each costs a second of work, so most of them wait for the longer test run."""
    COUNTER.unlink(missing_ok=True)
    runs = [row for row in rows if row["kind"] == "run"][::every]

    def carry_out(row: Row) -> Row:
        given = ("-p", row["params"]) if row["params"] else ()
        done = served.room.call("run", "--json", *given, str(served.room.dags / row["file"]))
        assert done.returncode in (0, 1), done.stderr
        told = json.loads(done.stdout)
        status = WORDS.get(told["status"], told["status"])
        assert done.returncode == (0 if status in ("succeeded", "partially_succeeded") else 1)
        main = [step for step in told["steps"] if not step["phase"]]
        return {
            "run_status": status,
            "steps": {step["name"]: WORDS.get(step["status"], step["status"]) for step in main},
            "outputs": by_variable(told["outputs"], row),
            "sub_runs": {step["name"]: len(step["children"]) for step in main if step.get("children")},
            "handlers": {step["name"]: step["status"] for step in told["steps"] if step["phase"]},
        }

    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(carry_out, runs))
    wrong = {row["file"]: found for row, seen in zip(runs, got, strict=True) if (found := differences(row, seen))}
    assert not wrong, json.dumps(wrong, indent=1)


def test_what_is_stored_of_a_definition(served: Served, rows: list[Row]) -> None:
    for row in rows:
        if "params_stored" in row:
            asked = [(row["params"], row["params_stored"])]
            asked += [(row["override"]["params"], row["override"]["params_stored"])] if "override" in row else []
            for params, stored in asked:
                begun = served.call("POST", f"/dags/{stem(row)}/start", {"params": params})
                assert begun.status_code == 200, begun.text
                name = served.get(f"/dags/{stem(row)}")["dag"]["name"]
                assert render(parse_params(served.ended(begun.json()["dagRunId"], name).get("params"))) == stored, row["file"]
        if "depends" in row:
            steps = served.get(f"/dags/{stem(row)}")["dag"]["steps"]
            assert {step["name"]: step.get("depends", []) for step in steps} == row["depends"]
        if "schedule" in row:
            shown = [each["expression"] for each in served.get(f"/dags/{stem(row)}")["dag"]["schedule"]]
            assert shown == row["schedule"]["start"]


def test_bad_files_are_refused_by_both(served: Served, rows: list[Row]) -> None:
    bad = [row for row in rows if row.get("run_status") == "invalid" or "validation_error" in row]
    assert len(bad) == 5
    for row in bad:
        word, text = row["validation_error"], (EXAMPLES / row["file"]).read_text()
        told = served.call("POST", "/dags/validate", {"spec": text}).json()
        assert told["valid"] is False
        assert any(word in error for error in told["errors"]), told
        served.refused(served.call("POST", f"/dags/{stem(row)}/start", {}), 400)
        done = served.room.call("validate", str(served.room.dags / row["file"]))
        assert done.returncode == 1
        assert word in done.stdout
        assert served.room.call("run", str(served.room.dags / row["file"])).returncode != 0
