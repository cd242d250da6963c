"""The DAG surface of one process: what it adds to the kernel's registry before the worker opens, and what it does while it is open.
The server and a run without a server use it alike."""

from __future__ import annotations

from collections.abc import Mapping

from ... import __version__
from ...config import Settings
from ...kernel.engine import Engine
from ...kernel.machine import Registry
from ...runs.message import RunEnded
from ...runs.ports import Step
from ...web.caller import PERSONAL
from .catalog import open_catalog
from .definition import DagDefinitions
from .desk import Desk
from .machines.rename import RenameMachine
from .machines.schedule import ScheduleMachine
from .machines.sweeper import SweeperMachine
from .watch import Watcher
from .work.notice import SendNotices
from .work.rename import RenameJob
from .work.retention import Retention
from .work.schedule import Clockwork, schedule_jobs
from .work.trace.export import Tracer
from .work.zone import zone_name

CLOCK_PLACE = "clock"
"""The place of jobs that belong to a server alone: schedules, sweeping. A run without a server leaves them."""
CLOCK_PLACES = 1000
"""They mostly wait for a commit: many at once make large batches."""


class Room:
    """`register`, then the worker opens, then `open`; `close` before the worker closes."""

    def __init__(self, settings: Settings, steps: Mapping[str, Step]) -> None:
        self.settings = settings
        self.steps = steps
        self.catalog = open_catalog(settings, frozenset(steps))
        self.definitions = DagDefinitions(self.catalog)
        self.notices = SendNotices(settings, steps)
        self.retention = Retention(settings, CLOCK_PLACE)
        self.rename = RenameJob(self.catalog, CLOCK_PLACE)
        self.zone = zone_name(settings.time_zone)
        self.clockwork = Clockwork(self.catalog, steps, settings.queues, self.zone)
        self.tracer = Tracer(settings.data_dir)
        self.watcher: Watcher | None = None

    def register(self, registry: Registry) -> None:
        """Machines, job kinds and things of this surface."""
        registry.add_thing("text", bytes)
        self.notices.register(registry)
        registry.add_machine(SweeperMachine())
        for kept in self.retention.kinds:
            registry.add_kind(kept)
        registry.add_machine(RenameMachine())
        registry.add_kind(self.rename)
        registry.add_machine(ScheduleMachine())
        for kind in schedule_jobs(self.clockwork, CLOCK_PLACE):
            registry.add_kind(kind)
        registry.listen(RunEnded, self.clockwork.run_ended)

    async def open(self, engine: Engine) -> Desk:
        """Begin to work on an open engine."""
        self.definitions.bind(engine)
        self.notices.bind(engine)
        self.retention.bind(engine)
        self.rename.bind(engine)
        self.clockwork.bind(engine)
        await self.tracer.open(engine)
        if engine.jobs.places.get(CLOCK_PLACE):  # a server's: only those follow the clock
            self.watcher = Watcher(self.catalog, engine, PERSONAL, self.zone, self.settings.data_dir)
            self.watcher.open()
            await self.retention.start(PERSONAL)
        desk = Desk(
            engine, self.catalog, self.steps, self.settings.data_dir, __version__, self.settings.queues, self.follows_schedules
        )
        await desk.apply_limits()
        return desk

    def follows_schedules(self) -> bool:
        """Whether this process does, and well: its watch of the files stands, and its clockwork decides the slots."""
        return self.watcher is not None and self.watcher.well and self.clockwork.well

    async def finish(self) -> None:
        """For a process that ends with its run: let what its end owes to people be tried once."""
        await self.notices.finish(self.settings.drain_timeout_s)
        await self.tracer.finish(self.settings.drain_timeout_s)

    async def close(self) -> None:
        """End what this surface does by itself."""
        self.clockwork.close()
        await self.tracer.close()
        if self.watcher is not None:
            await self.watcher.close()
