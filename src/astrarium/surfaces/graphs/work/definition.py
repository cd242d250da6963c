"""What a graph names that another one runs: an id among those that are offered, or a file beside its own."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from ....errors import Invalid, NotFound
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.types import ENGINE
from ....runs.ports import Definitions
from ....spec.graph import Graph
from ....spec.ir.compile import DIALECT
from ....web.caller import PERSONAL
from ..catalog import SUFFIXES, Catalog, Entry


class GraphDefinitions:
    """The `Definitions` port: graphs are found here, what other definitions name by `others`. `bind` hands in the engine, which keeps what
    is found; until then calls wait."""

    def __init__(self, catalog: Catalog, others: Definitions) -> None:
        self._catalog = catalog
        self._others = others
        self._engine: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()

    def bind(self, engine: Engine) -> None:
        self._engine.set_result(engine)

    async def __call__(self, name: str, calling: Graph) -> tuple[str, Graph]:
        """(hash, graph). Raises `NotFound`, or `Invalid` when the file does not compile."""
        if calling.dialect != DIALECT:
            return await self._others(name, calling)
        engine = await self._engine
        entry = await asyncio.to_thread(self._entry, name, calling)
        if engine.things.get(entry.stored) is None:
            kept = act(PERSONAL, ENGINE, "definition.kept", entry.id, file=entry.file.name, graph=entry.stored)
            await engine.submit(kept, entry.things)
        return entry.stored, entry.graph

    def _entry(self, name: str, calling: Graph) -> Entry:
        if not name.endswith(SUFFIXES) or not calling.base_dir or "\0" in name:
            with contextlib.suppress(NotFound):
                return self._catalog.find(name)
            self._catalog.refresh()  # it may have come a moment ago
            return self._catalog.find(name)
        folder = Path(calling.base_dir).resolve()
        file = (folder / name).resolve()
        if not file.is_relative_to(folder):
            raise Invalid(f"`{name}` lies outside the folder of the graph", hint=f"keep it below {folder}")
        return self._catalog.load(file)
