"""What a child step's `call` means: a local document, a DAG file near the calling one, a DAG of the folder by its name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ...errors import Bug, Invalid, NotFound
from ...kernel.engine import Engine
from ...spec.graph import Graph, decode_graph
from .catalog import SUFFIXES, Catalog, Entry


class DagDefinitions:
    """The `Definitions` port. `bind` hands in the engine, which keeps the graphs that are found; until then there is none."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._engine: Engine | None = None

    def bind(self, engine: Engine) -> None:
        engine.registry.add_thing("text", bytes)
        self._engine = engine

    async def __call__(self, name: str, calling: Graph) -> tuple[str, Graph]:
        """(hash, graph) of what `calling` names. Raises `NotFound`, or `Invalid` when the file does not compile."""
        if self._engine is None:
            raise Bug("definitions were asked for before they were bound to an engine")
        local = calling.locals.get(name)
        if local:
            return local, await self._local(self._engine, local)
        entry = await asyncio.to_thread(self._entry, name, calling)
        if entry.dag is None:
            raise Invalid(f"DAG {name!r} ({entry.path}) does not load: {entry.problems[0]}", entry.problems)
        if self._engine.things.get(entry.graph) is None:
            await self._engine.submit_all((), things=entry.things)
        return entry.graph, entry.dag.graph

    async def _local(self, engine: Engine, key: str) -> Graph:
        rows = await engine.store.read("SELECT data FROM things WHERE hash = ?", (key,))
        if not rows:
            raise NotFound(f"the local DAG {key} was not stored with the run")
        return decode_graph(bytes(rows[0][0]))

    def _entry(self, name: str, calling: Graph) -> Entry:
        if calling.base_dir and "\0" not in name:
            near = Path(calling.base_dir, name)
            for path in (near,) if name.endswith(SUFFIXES) else (near.with_name(near.name + SUFFIXES[0]), near.with_name(near.name + SUFFIXES[1])):
                entry = self.catalog.entry(path) if near.name else None
                if entry is not None:
                    return entry
        return self.catalog.find(name)
