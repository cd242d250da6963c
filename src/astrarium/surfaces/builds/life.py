"""What every process that opens the store must know of this surface, whether it serves it or not: its lives and things."""

from __future__ import annotations

from ...kernel.engine import Engine
from ...kernel.machine import Registry
from .machines.build import RELEASE_JOB, BuildMachine
from .machines.lock import LockMachine
from .machines.plan.deployment import DeploymentMachine
from .machines.plan.limit import LimitMachine
from .machines.plan.member import PlanMachine
from .machines.plan.wake import WakeMachine
from .machines.task import TaskMachine
from .search.value import read_values
from .work.release import Release

TASK, ASSET = "task", "asset"
"""Kinds of things: `task_data`, and an asset's content."""


def bind(engine: Engine) -> None:
    """From here on the work builds leave is carried out."""
    release = engine.registry.kinds[RELEASE_JOB]
    assert isinstance(release, Release)
    release.bind(engine)


def register(registry: Registry) -> None:
    """Things are kept as they are; what can be searched for is read out of them."""
    for machine in (BuildMachine(), TaskMachine(), LockMachine()):
        registry.add_machine(machine)
    for driven in (PlanMachine(), DeploymentMachine(), LimitMachine(), WakeMachine()):
        registry.add_machine(driven)
    registry.add_kind(Release())
    for kind in (TASK, ASSET):
        registry.add_thing(kind, read_values)
