"""The build registry of one process: `register`, then the worker opens, then `open`."""

from __future__ import annotations

from ...kernel.engine import Engine
from ...kernel.types import Scope
from ..tenancy.room import Tenancy
from . import life
from .desk import Desk
from .views.build import has_running

register = life.register


def open(engine: Engine, tenancy: Tenancy) -> Desk:
    """The desk of an open engine. From here on an environment with running builds is not deleted."""

    async def busy(scope: Scope) -> str:
        return "builds that have not ended" if await has_running(engine.store, scope) else ""

    tenancy.environments.busy.append(busy)
    life.bind(engine)
    return Desk(engine)
