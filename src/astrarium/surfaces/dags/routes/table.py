"""All operations of this surface, in one table."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from ... import operation
from .. import wire
from ..problem import PREFIX
from . import definition, run, step, system

OPERATIONS = (*system.OPERATIONS, *definition.OPERATIONS, *run.OPERATIONS, *step.OPERATIONS)


def mount(app: FastAPI) -> None:
    """Add this surface to an application. `app.state.dags` must hold its `Desk` before the first request."""
    operation.mount(app, "", system.ROOT_HEALTH)
    operation.mount(app, PREFIX, OPERATIONS)


def describe(document: dict[str, Any]) -> None:
    """Add this surface to an OpenAPI document."""
    operation.describe(document, "", "dags", system.ROOT_HEALTH, wire.shape.Error)
    operation.describe(document, PREFIX, "dags", OPERATIONS, wire.shape.Error)
