"""All operations of this surface, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI

from ... import operation
from ...operation import Operation
from .. import wire
from ..problem import PREFIX
from . import order, run, stream, thing

OPERATIONS = (*run.OPERATIONS, *order.OPERATIONS, *stream.OPERATIONS, *thing.OPERATIONS)
UNDER_CLEARED = " under cleared profile"


def denied_as(operations: Sequence[Operation], cleared: bool) -> list[Operation]:
    """Under the profile `cleared` a denial says so (Stargraph 0.8's words)."""
    return [msgspec.structs.replace(one, denial=one.denial + UNDER_CLEARED) if cleared else one for one in operations]


def mount(app: FastAPI, *, cleared: bool = False) -> None:
    """Add this surface to an application. `app.state.graphs` must hold its `Desk` before the first request."""
    operation.mount(app, PREFIX, denied_as(OPERATIONS, cleared))
    operation.mount_sockets(app, PREFIX, stream.SOCKETS)


def describe(document: dict[str, Any]) -> None:
    """Add this surface to an OpenAPI document."""
    operation.describe(document, PREFIX, "graphs", OPERATIONS, wire.GraphFault)
