"""Python code of graphs: found beside their files, taken anew when it changes, kept for runs that began with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrarium.errors import Invalid, Refused
from astrarium.plugins.steps.node import NodeParams, make
from astrarium.runs.ports.code import CODES
from astrarium.spec.graph import Graph, decode_graph
from astrarium.surfaces.graphs.catalog import Catalog, Entry
from astrarium.surfaces.graphs.work.load import installation
from astrarium.worker import load_steps

GRAPH = 'ir_version: "1.1.0"\nid: "graph:{id}"\nstate_schema: {{n: int}}\nnodes: [{{id: a, kind: "shelf:add"}}]\n'
ADD = "def add(state):\n    return {{'n': {n}}}\n"


def catalog(folder: Path, *named: Path) -> Catalog:
    steps = load_steps()
    return Catalog(named, folder, lambda place: installation(steps, place), lambda graph: None, 100_000)


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    if path.stat().st_mtime_ns <= before:  # a clock that stands still between two writes
        os.utime(path, ns=(before + 1_000_000, before + 1_000_000))
    return path


def given(graph: Graph) -> int:
    """What the first node of a graph gives, called as a run of it would."""
    (node, *_) = graph.nodes
    params = NodeParams(node.params["class"], code=node.params["code"], folder=node.params.get("folder", ""))
    return int(make(params, graph.base_dir).call({}, None)["n"])


def children(entry: Entry) -> list[Graph]:
    return [decode_graph(data) for kind, data in entry.things if kind == "graph"][1:]


async def test_a_graph_whose_code_changed_is_compiled_anew_and_what_was_stays(tmp_path: Path) -> None:
    put(tmp_path / "shelf.py", "import deep\ndef add(state):\n    return {'n': deep.N}\n")
    put(tmp_path / "deep.py", "N = 1\n")
    put(tmp_path / "a.yaml", GRAPH.format(id="a"))
    made = catalog(tmp_path)
    made.open()
    first = await made.fresh("graph:a")
    assert given(first.graph) == 1 and await made.fresh("graph:a") is first
    put(tmp_path / "deep.py", "N = 22\n")
    second = await made.fresh("graph:a")
    assert second.hash != first.hash, "it behaves differently"
    assert (given(second.graph), given(first.graph)) == (22, 1), "runs that began before go on with the code they began with"
    put(tmp_path / "deep.py", "N = \n")
    assert await made.fresh("graph:a") is second, "what is broken is not taken"
    put(tmp_path / "deep.py", "N = 1\n")
    assert (await made.fresh("graph:a")).hash == first.hash


async def test_a_named_graph_is_compiled_anew_too(tmp_path: Path) -> None:
    put(tmp_path / "shelf.py", ADD.format(n=1))
    made = catalog(tmp_path / "none", put(tmp_path / "a.yaml", GRAPH.format(id="a")))
    made.open()
    put(tmp_path / "shelf.py", ADD.format(n=2))
    assert given((await made.fresh("graph:a")).graph) == 2


def test_modules_of_one_name_in_two_folders_do_not_clash(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two"), 1):
        put(
            tmp_path / name / "shelf.py",
            f"from pantry import N\nfrom kept.jar import M\ndef add(state):\n    return {{'n': N * M * {number}}}\n",
        )
        put(tmp_path / name / "pantry.py", f"N = {number}0\n")
        put(tmp_path / name / "kept" / "jar.py", "from . import lid\nfrom .lid import M\nassert lid.M == M\n")
        put(
            tmp_path / name / "kept" / "lid.py",
            "from pydantic import BaseModel\nclass Lid(BaseModel):\n    m: int = 10\nM = Lid().m\n",
        )
        put(tmp_path / name / "g.yaml", GRAPH.format(id=name))
    made = catalog(tmp_path)
    made.open()
    assert not made.problems
    assert [given(made.find(f"graph:{name}").graph) for name in ("one", "two")] == [100, 400]


def test_a_child_finds_modules_beside_itself_and_beside_the_graph_around_it(tmp_path: Path) -> None:
    put(tmp_path / "shelf.py", ADD.format(n=1))
    put(tmp_path / "own" / "shelf.py", ADD.format(n=2))
    for name in ("own", "other"):
        put(tmp_path / name / "child.yaml", GRAPH.format(id=name))
        child = f"nodes: [{{id: s, kind: subgraph, spec: {name}/child.yaml}}]"
        text = f"ir_version: 1.1.0\nid: graph:o-{name}\nstate_schema: {{n: int}}\n{child}\n"
        put(tmp_path / f"{name}.yaml", text)
    made = catalog(tmp_path / "none")
    assert [given(children(made.load(tmp_path / f"{name}.yaml"))[0]) for name in ("own", "other")] == [2, 1]


def test_code_that_is_gone_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "shelf.py", ADD.format(n=1))
    with pytest.raises(Refused, match="has changed since the run began") as told:
        CODES.given("shelf:add", str(tmp_path), "0" * 64)
    assert told.value.code == "graph-hash-mismatch"
    CODES.replace("shelf:add", str(tmp_path), "0" * 64)
    assert CODES.given("shelf:add", str(tmp_path), "0" * 64)({}) == {"n": 1}


def test_what_a_module_lacks_or_raises_is_told(tmp_path: Path) -> None:
    put(tmp_path / "shelf.py", "1 / 0\n")
    path = put(tmp_path / "a.yaml", GRAPH.format(id="a"))
    with pytest.raises(Invalid, match="`shelf` cannot be imported: ZeroDivisionError"):
        catalog(tmp_path / "none").load(path)
    put(tmp_path / "shelf.py", "from no_such_module_anywhere import x\n")
    with pytest.raises(Invalid, match="No module named 'no_such_module_anywhere'"):
        catalog(tmp_path / "none").load(path)
    put(tmp_path / "shelf.py", "sub = 1\n")
    with pytest.raises(Invalid, match="the module `shelf` has no `add`"):
        catalog(tmp_path / "none").load(path)
