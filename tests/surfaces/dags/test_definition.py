"""What a child step's call finds: local documents, files near by, DAG names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from astrarium.errors import Invalid, NotFound
from astrarium.runs.state import decode_definition
from astrarium.spec.graph import Graph, graph_hash
from astrarium.surfaces.dags.catalog import Catalog
from astrarium.surfaces.dags.definition import DagDefinitions


class KeepingEngine:
    """What definitions ask of an engine: things by hash, and commands that keep them."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.records: list[Any] = []
        self.things = SimpleNamespace(get=self.kept.get, fetch=self._fetch)

    async def _fetch(self, keys: list[str]) -> dict[str, Any]:
        return {key: self.kept[key] for key in keys}

    async def submit(self, command: Any, things: Any = ()) -> None:
        self.records.append(command.body)
        self.kept |= {graph_hash(data): decode_definition(data) for kind, data in things if kind == "graph"}


@pytest.fixture
def definitions(tmp_path: Path) -> tuple[DagDefinitions, KeepingEngine]:
    (tmp_path / "dags").mkdir()
    engine = KeepingEngine()
    made = DagDefinitions(Catalog(tmp_path / "dags", max_bytes=10_000))
    made.bind(engine)  # type: ignore[arg-type]
    return made, engine


async def test_a_file_of_the_folder_is_kept_once(definitions: Any) -> None:
    find, engine = definitions
    (find.catalog.folder / "file.yaml").write_text("name: named\nsteps: [echo a]\n")
    first = await find("file", Graph("calling"))
    assert await find("named", Graph("calling")) == first
    assert first[0] in engine.kept
    assert [(record.act, record.subject) for record in engine.records] == [("definition.kept", "named")]


async def test_a_file_near_the_calling_one_wins(definitions: Any, tmp_path: Path) -> None:
    find, _ = definitions
    (tmp_path / "near").mkdir()
    for folder, word in (("near", "near"), ("dags", "far")):
        (tmp_path / folder / "part.yaml").write_text(f"steps: [echo {word}]\n")
    _, graph = await find("part", Graph("calling", base_dir=str(tmp_path / "near")))
    assert graph.nodes[0].params == {"commands": ["echo near"]}


async def test_a_local_document_wins(definitions: Any) -> None:
    find, engine = definitions
    made = find.catalog.compile("steps:\n  - name: c\n    call: part\n---\nname: part\nsteps: [echo local]\n", "whole")
    await engine.submit(SimpleNamespace(body=None), made.things)
    (find.catalog.folder / "part.yaml").write_text("steps: [echo file]\n")
    key, graph = await find("part", made.dag.graph)
    assert key == made.dag.graph.locals["part"]
    assert graph.nodes[0].params == {"commands": ["echo local"]}


async def test_what_cannot_be_called(definitions: Any) -> None:
    find, _ = definitions
    (find.catalog.folder / "broken.yaml").write_text("steps: 3\n")
    with pytest.raises(NotFound):
        await find("nobody", Graph("calling", base_dir=str(find.catalog.folder)))
    with pytest.raises(Invalid) as caught:
        await find("broken", Graph("calling"))
    assert caught.value.problems
