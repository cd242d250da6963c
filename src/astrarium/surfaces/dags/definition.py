"""What a child step's `call` means: a local document, a DAG file near the calling one, a DAG of the folder by its name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ...errors import Invalid
from ...kernel.audit import act
from ...kernel.types import ENGINE
from ...spec.graph import Graph
from ...web.caller import PERSONAL
from .catalog import SUFFIXES, Catalog, Compiled, Entry
from .work.bound import Bound


class DagDefinitions(Bound):
    """The `Definitions` port. `bind` hands in the engine, which keeps the graphs that are found; until then calls wait."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        super().__init__()

    async def __call__(self, name: str, calling: Graph) -> tuple[str, Graph]:
        """(hash, graph) of what `calling` names; a graph seen for the first time is kept, with a record of it. Raises `NotFound`,
        or `Invalid` when the file does not compile."""
        engine = await self.engine()
        local = calling.locals.get(name)
        if local:
            return local, (await engine.things.fetch([local]))[local].graph
        entry, made = await asyncio.to_thread(self._called, name, calling)
        if engine.things.get(made.graph) is None:
            kept = act(PERSONAL, ENGINE, "definition.kept", entry.name, file=entry.file_name, graph=made.graph)
            await engine.submit(kept, made.things)
        return made.graph, made.dag.graph

    def _called(self, name: str, calling: Graph) -> tuple[Entry, Compiled]:
        entry = self._entry(name, calling)
        if entry.dag is None:
            raise Invalid(f"DAG {name!r} ({entry.path}) does not load: {entry.problems[0]}", entry.problems)
        return entry, self.catalog.called(entry)

    def _entry(self, name: str, calling: Graph) -> Entry:
        if calling.base_dir and name and "\0" not in name:
            for near in (name,) if name.endswith(SUFFIXES) else [name + suffix for suffix in SUFFIXES]:
                entry = self.catalog.entry(Path(calling.base_dir, near))
                if entry is not None:
                    return entry
        return self.catalog.find(name)
