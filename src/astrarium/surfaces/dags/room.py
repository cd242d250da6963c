"""The DAG surface of one process: what it adds to the kernel's registry before the worker opens, and what it does while it is open.
The server and a run without a server use it alike."""

from __future__ import annotations

from collections.abc import Mapping

from ... import __version__
from ...config import Settings
from ...kernel.engine import Engine
from ...kernel.machine import Registry
from ...runs.ports import Step
from .catalog import Catalog
from .definition import DagDefinitions
from .desk import Desk

CLOCK_PLACE = "clock"
"""The place of jobs that belong to a server alone: schedules, sweeping. A run without a server leaves them."""
CLOCK_PLACES = 64


class Room:
    """`register`, then the worker opens, then `open`; `close` before the worker closes."""

    def __init__(self, settings: Settings, steps: Mapping[str, Step]) -> None:
        self.settings = settings
        self.steps = steps
        self.catalog = Catalog(settings.dags_dir, max_bytes=settings.max_yaml_bytes, known_kinds=frozenset(steps))
        self.definitions = DagDefinitions(self.catalog)

    def register(self, registry: Registry) -> None:
        """Machines, job kinds and things of this surface."""
        registry.add_thing("text", bytes)

    async def open(self, engine: Engine) -> Desk:
        """Begin to work on an open engine."""
        self.definitions.bind(engine)
        return Desk(engine, self.catalog, self.steps, self.settings.data_dir, __version__)

    async def close(self) -> None:
        """End what this surface does by itself."""
