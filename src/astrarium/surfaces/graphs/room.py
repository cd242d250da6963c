"""The graphs of one process: read before the worker takes up what was left, so that their code is found; offered once it is open."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI

from ...config import Settings
from ...kernel.engine import Engine
from ...kernel.machine import Registry
from ...runs.ports import Definitions, Step
from ...runs.work.workshop import check_graph
from ...spec.graph import Graph
from ...spec.ir.installed import Installed
from ..operation import mount
from .catalog import Catalog
from .desk import Denied, Desk
from .registry import Skill, read_skills, skill_folders, skill_ids
from .routes.hook import hook_operations
from .trigger import Triggers, read_triggers
from .views.number import Numbers
from .work.bucket import Buckets
from .work.definition import GraphDefinitions
from .work.fire import FireGraph, Webhooks, register_triggers, set_crons
from .work.load import Belief, installation
from .work.stream import GraphStreams
from .work.watch import Watch


class Graphs:
    """`read`, then the worker opens, then `open`; `close` before the worker closes. `place`: of jobs that belong to servers."""

    def __init__(self, settings: Settings, steps: Mapping[str, Step], place: str) -> None:
        self._settings = settings
        self._steps = steps
        self._place = place
        self._fire: FireGraph
        self._definitions: GraphDefinitions
        self._triggers = Triggers()
        self._skills: list[Skill] = []
        self._streams: GraphStreams | None = None
        self._installed: dict[Path, Installed] = {}
        folder, named = settings.graphs_dir, [Path(one.strip()) for one in settings.graphs.split(",") if one.strip()]
        self.catalog = Catalog(named, folder, self._installation, self._check, settings.max_yaml_bytes)
        self._watch = Watch(folder, self.catalog.refresh)

    def _installation(self, folder: Path) -> Installed:
        known = self._installed.get(folder)
        if known is None:
            known = self._installed[folder] = installation(
                self._steps, folder, skills=skill_ids(self._skills), belief=Belief.of(self._settings)
            )
        return known

    def _check(self, graph: Graph) -> None:
        check_graph(graph, self._steps)

    async def read(self, registry: Registry) -> None:
        """Read what is offered, and add this surface's lives and jobs to the registry. Raises `Invalid` with every defect of the graphs
        that were named, and of the triggers."""
        self._fire = register_triggers(registry, self._place)
        self._triggers = read_triggers(self._settings.triggers, os.environ)
        folders = skill_folders(os.environ, Path.cwd(), Path.home())
        self._skills = await asyncio.to_thread(read_skills, folders)
        await asyncio.to_thread(self.catalog.open)

    def definitions(self, others: Definitions) -> Definitions:
        """Where runs find the graphs they run besides their own; what other surfaces' do is found by `others`."""
        self._definitions = GraphDefinitions(self.catalog, others)
        return self._definitions

    async def open(self, app: FastAPI, engine: Engine, denied: Denied) -> None:
        """What the routes of this surface work with, in `app.state`."""
        self._definitions.bind(engine)
        self._watch.open()
        app.state.graph_skills = self._skills
        desk = app.state.graphs = Desk(engine, self.catalog, denied)
        self._fire.bind(desk)
        await set_crons(engine, self._triggers)
        mount(app, "", hook_operations(self._triggers, Webhooks(desk)))
        self._streams = app.state.graph_streams = GraphStreams(engine, app.state.feed, self._settings.data_dir / "logs")
        app.state.components = {"artifact_store": app.state.artifacts.check}
        app.state.families = [Numbers(engine, self.catalog).families]
        app.state.fork_buckets = Buckets(self._settings.forks_per_min)

    async def close(self) -> None:
        await self._watch.close()
        if self._streams is not None:
            self._streams.close()
