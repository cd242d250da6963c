"""Real DAG files of the dialect's original, read when they lie beside the checkout."""

import json
import subprocess
from pathlib import Path

import pytest

from astrarium.errors import Invalid
from astrarium.spec.dag import compile_dag
from astrarium.spec.expand import Variables, expand
from astrarium.spec.params import override, parse_overrides, parse_params, render, resolve

FOLDER = Path(__file__).parents[3] / "shared" / "contracts" / "dagu-examples"
EXPECTED = FOLDER / "expected.jsonl"

if not EXPECTED.is_file():
    pytest.skip("the sample DAG files are not beside this checkout", allow_module_level=True)

CASES = [json.loads(line) for line in EXPECTED.read_text().splitlines() if line.strip()]


async def shell(line: str) -> str:
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Invalid(f"`{line}` failed with exit code {done.returncode}")
    return done.stdout


async def load(case, given=""):
    """(the DAG, its environment, its parameters as stored)"""
    path = FOLDER / case["file"]
    dag = compile_dag(path.read_text(), name=path.stem, file=case["file"], base_dir=str(path.parent))
    env: dict[str, str] = {}
    for name, template in dag.graph.prepare.env:
        env[name] = await expand(template, Variables(env), shell)
    params = override(parse_params(dag.graph.prepare.params), parse_overrides(given))
    return dag, env, render(await resolve(params, Variables(env), shell))


def test_all_are_there():
    assert len(CASES) == 60


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
async def test_example(case):
    if "validation_error" in case:
        with pytest.raises(Invalid) as caught:
            await load(case)
        said = " ".join([caught.value.message, *map(str, caught.value.problems)])
        assert case["validation_error"] in said
        return
    dag, env, params = await load(case)
    main = [node.name for node in dag.graph.nodes if node.phase == "main"]
    if "steps" in case:
        assert main == list(case["steps"])
    assert [n.name for n in dag.graph.nodes if n.phase != "main"] == list(case.get("handlers", {}))
    assert params == case.get("params_stored", params)
    assert env | case.get("env", {}) == env
    for kind, crons in case.get("schedule", {}).items():
        assert list(getattr(dag.schedule, kind)) == crons
    if "depends" in case:
        found = {name: [] for name in main}
        for edge in dag.graph.edges:
            found[main[edge.target]].append(main[edge.source])
        assert found == case["depends"]
    if "override" in case:
        assert (await load(case, case["override"]["params"]))[2] == case["override"]["params_stored"]
