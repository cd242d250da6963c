"""What the server tells of itself."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from ....errors import AstrariumError
from ...operation import Operation, answer
from .. import wire
from .entry import desk_of, row


async def get_health(request: Request) -> Response:
    desk = desk_of(request)
    parts = {"engine": "unhealthy" if desk.engine.fenced.is_set() else "healthy", "store": "healthy"}
    try:
        await desk.engine.store.read("SELECT 1", ())
    except AstrariumError:
        parts["store"] = "unhealthy"
    status = "healthy" if set(parts.values()) == {"healthy"} else "unhealthy"
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return answer(wire.system.Health(status, desk.version, desk.uptime_s, now, parts), 200 if status == "healthy" else 503)


ROOT_HEALTH = (
    Operation(
        "GET", "/health", "getRootHealth", "Whether the server works", get_health, answer=wire.system.Health, failures=(503,)
    ),
)  # fmt: skip
"""The same answer without the prefix, for load balancers and watchdogs."""
OPERATIONS = (
    row("GET", "/health", "getHealthStatus", "Whether the server works", get_health, answer=wire.system.Health, failures=(503,)),
)  # fmt: skip
