"""The graphs of a server: named files that must load, a folder that is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrarium.errors import Invalid, NotFound
from astrarium.surfaces.graphs.catalog import Catalog
from astrarium.surfaces.graphs.work.load import installation
from astrarium.worker import load_steps

GRAPH = 'ir_version: "1.1.0"\nid: "graph:{id}"\nnodes: [{{id: a, kind: {kind}}}]\n'


def catalog(folder: Path, *named: Path) -> Catalog:
    steps = load_steps()
    return Catalog(named, folder, lambda place: installation(steps, place), lambda graph: None, 100_000)


def put(path: Path, id_: str = "a", kind: str = "passthrough") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GRAPH.format(id=id_, kind=kind))
    return path


def test_a_named_file_must_load_and_every_defect_is_told(tmp_path: Path) -> None:
    bad = put(tmp_path / "bad.yaml", kind="nothing")
    worse = put(tmp_path / "worse.yaml", id_="b c", kind="nobody")
    with pytest.raises(Invalid) as told:
        catalog(tmp_path / "none", bad, worse, tmp_path / "missing.yaml").open()
    complaints = " ".join(str(one) for one in told.value.problems)
    assert all(word in complaints for word in ("nothing", "nobody", "missing.yaml"))


def test_the_folder_is_read_again_and_what_breaks_is_reported(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    made.open()
    assert not made.entries
    put(tmp_path / "a.yaml")
    put(tmp_path / "deep" / "b.yml", "b")
    put(tmp_path / "packs" / "c.yaml", "c")
    made.refresh()
    assert sorted(made.entries) == ["graph:a", "graph:b"] and made.find("graph:b").nodes == 1
    before = made.find("graph:a")
    (tmp_path / "a.yaml").write_text("id: [")
    put(tmp_path / "twin.yaml", "b")
    made.refresh()
    assert made.find("graph:a") is before and set(made.problems) == {"a.yaml", "twin.yaml"}
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "twin.yaml").unlink()
    made.refresh()
    assert sorted(made.entries) == ["graph:b"] and not made.problems
    with pytest.raises(NotFound, match="graph 'graph:a' not found"):
        made.find("graph:a")


def test_code_is_found_beside_the_file_and_counts_for_the_hash(tmp_path: Path) -> None:
    (tmp_path / "pantry_one.py").write_text(
        "from pydantic import BaseModel\nclass State(BaseModel):\n    n: int = 1\ndef add(state):\n    return {}\n"
    )
    (tmp_path / "pantry_two.py").write_text(
        "from pydantic import BaseModel\nclass State(BaseModel):\n    n: int = 1\ndef add(state):\n    return {'n': 2}\n"
    )
    text = 'ir_version: "1.1.0"\nid: "graph:p"\nstate_class: "{module}:State"\nnodes: [{{id: a, kind: "pantry_one:add"}}]\n'
    made = catalog(tmp_path)
    one = made.compile(text.format(module="pantry_one"), tmp_path / "p.yaml")
    other = made.compile(text.format(module="pantry_one").replace("pantry_one:add", "pantry_two:add"), tmp_path / "p.yaml")
    assert one.hash != other.hash and one.fields == {"n"} and one.graph.base_dir == str(tmp_path)
    for wrong, complaint in (
        ("pantry_none:add", "cannot be imported"),
        ("pantry_one:none", "has no `none`"),
        ("pantry_one:State", "execute"),
    ):
        with pytest.raises(Invalid, match=complaint):
            made.compile(text.format(module="pantry_one").replace("pantry_one:add", wrong), tmp_path / "p.yaml")


def test_a_child_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    put(tmp_path / "secret.yaml")
    text = 'ir_version: "1.1.0"\nid: "graph:p"\nnodes: [{id: a, kind: subgraph, spec: ../secret.yaml}]\n'
    with pytest.raises(Invalid, match="outside the folder"):
        catalog(tmp_path / "graphs").compile(text, tmp_path / "graphs" / "p.yaml")
