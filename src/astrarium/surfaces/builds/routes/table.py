"""All operations of this surface, in one table."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from .... import __version__
from ... import operation
from .. import wire
from ..plan.routes import build as plan_build
from ..plan.routes import plan as plan_plan
from ..plan.routes import task as plan_task
from ..plan.routes import wake as plan_wake
from ..plan.wire import PlanRefusal
from ..problem import PLAN_PREFIX, PREFIX
from . import build, file, live, lock, report, search, task

TAG = "builds"
API_VERSION = "v1"


async def get_version(request: Request) -> Response:
    return operation.answer(wire.RegistryVersion(__version__, API_VERSION))


VERSION = operation.Operation(
    "GET", "/version", "getRegistryVersion", "The version of this server", get_version, answer=wire.RegistryVersion
)
OPERATIONS = (
    *build.OPERATIONS, *live.OPERATIONS, *report.OPERATIONS, *search.OPERATIONS, *task.OPERATIONS, *file.OPERATIONS,
    *lock.OPERATIONS, VERSION,
)  # fmt: skip

PLAN_OPERATIONS = (*plan_wake.OPERATIONS, *plan_build.OPERATIONS, *plan_plan.OPERATIONS, *plan_task.OPERATIONS)


def mount(app: FastAPI) -> None:
    """Add this surface to an application. `app.state.builds` must hold its `Desk` before the first request."""
    operation.mount(app, PREFIX, OPERATIONS)
    operation.mount(app, PLAN_PREFIX, PLAN_OPERATIONS)


def describe(document: dict[str, Any]) -> None:
    """Add this surface to an OpenAPI document."""
    operation.describe(document, PREFIX, TAG, OPERATIONS, wire.BuildFault)
    operation.describe(document, PLAN_PREFIX, TAG, PLAN_OPERATIONS, PlanRefusal)
