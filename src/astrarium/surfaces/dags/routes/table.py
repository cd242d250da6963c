"""All operations of this surface, in one table."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from ... import operation
from .. import wire
from ..problem import PREFIX
from . import definition, live, metric, notice, queue, run, schedule, step, system
from .access import account, webhook

OPERATIONS = (
    *system.OPERATIONS, *definition.OPERATIONS, *queue.OPERATIONS, *notice.OPERATIONS, *run.OPERATIONS, *step.OPERATIONS,
    *live.OPERATIONS, *metric.OPERATIONS, *schedule.OPERATIONS, *account.OPERATIONS, *webhook.OPERATIONS,
)  # fmt: skip


def mount(app: FastAPI) -> None:
    """Add this surface to an application. `app.state.dags` must hold its `Desk` before the first request."""
    operation.mount(app, "", (*system.ROOT_HEALTH, *metric.ROOT_METRICS))
    operation.mount(app, PREFIX, OPERATIONS)


def describe(document: dict[str, Any]) -> None:
    """Add this surface to an OpenAPI document."""
    operation.describe(document, "", "dags", (*system.ROOT_HEALTH, *metric.ROOT_METRICS), wire.shape.Error)
    operation.describe(document, PREFIX, "dags", OPERATIONS, wire.shape.Error)
