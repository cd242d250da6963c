"""All operations of workspaces, once for each of their two spellings."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI

from ... import operation
from .. import wire
from ..problem import PREFIX, UI_PREFIX
from . import auth, environment, workspace

OPERATIONS = (*workspace.OPERATIONS, *environment.OPERATIONS)
UI_OPERATIONS = tuple(msgspec.structs.replace(one, id=f"{one.id}Ui") for one in OPERATIONS)
"""The same endpoints under `/api/v1/ui`; ids of operations are unique."""
TAG, AUTH_TAG = "workspaces", "auth"


def mount(app: FastAPI) -> None:
    """Add this surface to an application. `app.state.tenancy` must be there before the first request."""
    operation.mount(app, PREFIX, (*OPERATIONS, environment.OWN_ROOTS))
    operation.mount(app, UI_PREFIX, UI_OPERATIONS)
    operation.mount(app, PREFIX, auth.OPERATIONS)
    operation.mount(app, "", auth.BARE)


def describe(document: dict[str, Any]) -> None:
    """Add this surface to an OpenAPI document."""
    operation.describe(document, PREFIX, TAG, (*OPERATIONS, environment.OWN_ROOTS), wire.WorkspaceFault)
    operation.describe(document, UI_PREFIX, TAG, UI_OPERATIONS, wire.WorkspaceFault)
    operation.describe(document, PREFIX, AUTH_TAG, auth.OPERATIONS, wire.WorkspaceFault)
    operation.describe(document, "", AUTH_TAG, auth.BARE, wire.WorkspaceFault)
