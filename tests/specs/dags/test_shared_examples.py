"""Real DAG files of the dialect's users behave as recorded, where those files are at hand. They are no part of the project."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Invalid
from astrarium.spec.dag import compile_dag
from tests.specs.dags.desk import Desk, RunRow, open_desk

HERE = Path(__file__).resolve()
EXAMPLES = HERE.parents[4] / "shared" / "contracts" / "dagu-examples"
RUN_WORDS = {"succeeded": "succeeded", "partial": "partially_succeeded", "failed": "failed", "cancelled": "aborted"}
STEP_WORDS = {"cancelled": "aborted"}
LEFT_BY_EXAMPLES = Path("/tmp/dagu-test-counter-repeat-on-exitcode")
"""One of the examples counts in this file; it must not be there before."""


def differences(expected: dict[str, Any], got: dict[str, Any]) -> list[str]:
    """What is not as recorded."""
    found = []
    for key in ("run_status", "steps"):
        if expected[key] != got[key]:
            found.append(f"{key}: {got[key]!r}, not {expected[key]!r}")
    for name, value in expected.get("outputs", {}).items():
        if got["outputs"].get(name) != value.replace("$HOME", os.environ["HOME"]):
            found.append(f"output {name}: {got['outputs'].get(name)!r}, not {value!r}")
    for name, parts in expected.get("outputs_contains", {}).items():
        found += [f"output {name} lacks {part!r}" for part in parts if part not in got["outputs"].get(name, "")]
    found += [f"output {name} is there" for name in expected.get("outputs_absent", []) if name in got["outputs"]]
    for name, count in expected.get("sub_runs", {}).items():
        if got["children"] != count:
            found.append(f"{name} has {got['children']} child runs, not {count}")
    for name, count in expected.get("done_count", {}).items():
        if got["passes"].get(name) != count:
            found.append(f"{name} was done {got['passes'].get(name)} times, not {count}")
    return found


async def behaviour(desk: Desk, file: Path, params: str) -> dict[str, Any]:
    """Run one file to its end."""
    dag = desk.compile_file(file)
    run = await desk.start_graph(dag.graph, params, locals_=tuple(dag.locals.values()))
    row: RunRow = await desk.ended(run, 60)
    steps = await desk.steps(run)
    wanted = {node.name: node.output.name for node in dag.graph.nodes if node.output is not None}
    return {
        "run_status": RUN_WORDS.get(row.outcome, row.outcome),
        "steps": {name: STEP_WORDS.get(step.outcome, step.outcome) for name, step in steps.items() if not name.startswith("on")},
        "outputs": {
            wanted[name]: step.output
            for name, step in steps.items()
            if name in wanted and step.output is not None and step.outcome != "skipped"
        },
        "passes": {name: step.passes for name, step in steps.items()},
        "children": len(await desk.children(run)),
    }


@pytest.mark.slow
async def test_they_behave_as_recorded(
    require: Callable[[str, bool, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at the same time, on a copy, so that nothing is written beside the originals."""
    require("shared", (EXAMPLES / "expected.jsonl").is_file(), "the example files are not beside this checkout")
    if shutil.which("bash") is None:
        pytest.skip("bash: some of the examples are written for it")
    monkeypatch.setenv("SHELL", "/bin/bash")
    LEFT_BY_EXAMPLES.unlink(missing_ok=True)
    copy = shutil.copytree(EXAMPLES, tmp_path / "examples")
    rows = [json.loads(line) for line in (EXAMPLES / "expected.jsonl").read_text().splitlines()]
    runs = [row for row in rows if row["kind"] == "run"]
    async with open_desk(tmp_path) as desk:
        got = await asyncio.gather(*(behaviour(desk, copy / row["file"], row["params"]) for row in runs))
    wrong = {row["file"]: found for row, seen in zip(runs, got, strict=True) if (found := differences(row, seen))}
    assert not wrong, json.dumps(wrong, indent=1)
    assert len(runs) > 40


def test_they_compile_or_are_refused(require: Callable[[str, bool, str], None]) -> None:
    require("shared", (EXAMPLES / "expected.jsonl").is_file(), "the example files are not beside this checkout")
    rows = [json.loads(line) for line in (EXAMPLES / "expected.jsonl").read_text().splitlines()]
    for row in rows:
        file = EXAMPLES / row["file"]
        text, more = file.read_text(), {"name": file.stem, "file": str(file), "base_dir": str(file.parent)}
        if row.get("validation_error") == "params":
            continue  # parameters are resolved by a run's first job: the compiler has no shell to ask
        if row.get("run_status") == "invalid":
            with pytest.raises(Invalid):
                compile_dag(text, **more)
        else:
            compile_dag(text, **more)
