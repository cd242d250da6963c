"""Runs of graphs in numbers, for Prometheus."""

from __future__ import annotations

from ....kernel.engine import Engine
from ....web.metric import Family
from ..catalog import Catalog
from .query import SURFACE
from .status import ENDS, status_of

TOTALS = "SELECT mark, sum(amount) FROM counters WHERE workspace = ? AND name = ? GROUP BY mark"
LIVE = (
    "SELECT status, waiting, count(*) FROM runs WHERE workspace = ? AND status <> 'ended' AND surface = ? AND parent_run = ''"
    " GROUP BY status, waiting"
)


class Numbers:
    def __init__(self, engine: Engine, catalog: Catalog) -> None:
        self._engine = engine
        self._catalog = catalog

    async def families(self, workspace: str) -> list[Family]:
        """Of one workspace; graphs are the server's."""
        ended = {status: 0 for status in dict.fromkeys(ENDS.values())}
        for outcome, amount in await self._engine.store.read(TOTALS, (workspace, f"{SURFACE}.runs")):
            ended[ENDS[outcome]] += int(amount)
        total = Family("astrarium_graph_runs_total", "counter", "Runs of graphs that ended, by how they ended.")
        for status, amount in ended.items():
            total.add(amount, {"status": status})
        live = {status: 0 for status in ("pending", "running", "paused", "awaiting-input")}
        for status, waiting, amount in await self._engine.store.read(LIVE, (workspace, SURFACE)):
            shown = status_of(status, "", waiting)
            live[shown] = live.get(shown, 0) + int(amount)
        now = Family("astrarium_graph_runs", "gauge", "Runs of graphs that have not ended, by status.")
        for told, amount in live.items():
            now.add(amount, {"status": told})
        offered = Family("astrarium_graphs", "gauge", "Graphs this server offers, and files that do not load.")
        offered.add(len(self._catalog.entries), {"state": "offered"})
        offered.add(len(self._catalog.problems), {"state": "broken"})
        return [total, now, offered]
