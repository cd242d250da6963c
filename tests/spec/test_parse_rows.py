"""Load-only rows of the real files of the dialect's users: what is stored, said, and refused, and by which part."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Invalid
from astrarium.spec.dag import DagFile, compile_dag
from astrarium.spec.expand import Variables, expand
from astrarium.spec.params import override, parse_overrides, parse_params, render, resolve

EXAMPLES = Path(__file__).resolve().parents[3] / "shared" / "contracts" / "dagu-examples"
Require = Callable[[str, bool, str], None]


@pytest.fixture
def rows(require: Require) -> dict[str, dict[str, Any]]:
    """The recorded rows by file."""
    expected = EXAMPLES / "expected.jsonl"
    require("shared", expected.is_file(), "the example files are not beside this checkout")
    found = {row["file"]: row for row in map(json.loads, expected.read_text().splitlines())}
    return {file: row for file, row in found.items() if row["kind"] == "parse"}


def compiled(file: str) -> DagFile:
    path = EXAMPLES / file
    return compile_dag(path.read_text(), name=path.stem, file=file, base_dir=str(path.parent))


async def shell(line: str) -> str:
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Invalid(f"`{line}` ended with exit code {done.returncode}")
    return done.stdout


async def environment(dag: DagFile) -> dict[str, str]:
    env: dict[str, str] = {}
    assert dag.graph.prepare is not None
    for name, template in dag.graph.prepare.env:
        env[name] = await expand(template, Variables(env), shell)
    return env


async def stored(dag: DagFile, given: str) -> list[str]:
    assert dag.graph.prepare is not None
    params = override(parse_params(dag.graph.prepare.params), parse_overrides(given))
    return render(await resolve(params, Variables(await environment(dag)), shell))


async def test_stored_params_with_and_without_overrides(rows: dict[str, dict[str, Any]]) -> None:
    wanted = {(file, row["params"]): row["params_stored"] for file, row in rows.items() if "params_stored" in row}
    for file, row in rows.items():
        if "override" in row:
            wanted[file, row["override"]["params"]] = row["override"]["params_stored"]
    assert {key: await stored(compiled(key[0]), key[1]) for key in wanted} == wanted
    assert len(wanted) == 3


async def test_environment(rows: dict[str, dict[str, Any]]) -> None:
    wanted = {file: row["env"] for file, row in rows.items() if "env" in row}
    assert wanted
    for file, env in wanted.items():
        got = await environment(compiled(file))
        assert {name: got[name] for name in env} == env


def test_schedules(rows: dict[str, dict[str, Any]]) -> None:
    wanted = {file: row["schedule"] for file, row in rows.items() if "schedule" in row}
    assert wanted
    for file, schedule in wanted.items():
        got = compiled(file).schedule
        assert {name: list(getattr(got, name)) for name in schedule} == schedule


def test_dependencies(rows: dict[str, dict[str, Any]]) -> None:
    wanted = {file: row["depends"] for file, row in rows.items() if "depends" in row}
    assert wanted
    for file, depends in wanted.items():
        graph = compiled(file).graph
        got: dict[str, list[str]] = {node.name: [] for node in graph.nodes}
        for edge in graph.edges:
            got[graph.nodes[edge.target].name].append(graph.nodes[edge.source].name)
        assert got == depends


def test_refused_files_say_what_is_wrong_where(rows: dict[str, dict[str, Any]]) -> None:
    words = {file: row["validation_error"] for file, row in rows.items() if row.get("validation_error", "params") != "params"}
    assert len(words) == 4
    for file, word in words.items():
        with pytest.raises(Invalid) as caught:
            compiled(file)
        assert word in caught.value.message
        assert all(problem.line >= 1 and problem.file == file for problem in caught.value.problems)


async def test_a_failing_command_in_params_is_refused_when_a_run_is_prepared(rows: dict[str, dict[str, Any]]) -> None:
    [file] = [file for file, row in rows.items() if row.get("validation_error") == "params"]
    dag = compiled(file)  # compiling runs nothing

    async def failing(line: str) -> str:
        raise Invalid(f"`{line}` ended with exit code 127")

    assert dag.graph.prepare is not None
    with pytest.raises(Invalid, match=r"^params: the value of parameter number 1 cannot be resolved: .* exit code 127$"):
        await resolve(parse_params(dag.graph.prepare.params), Variables(), failing)
