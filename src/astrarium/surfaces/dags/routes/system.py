"""What the server tells of itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from ....config import Settings
from ....errors import AstrariumError
from ....web.stream import Streams
from ...operation import Operation, Query, answer
from .. import wire
from ..views.system import list_workers, parse_duration, resource_history
from ..work.sample import Samples
from .entry import desk_of, enter, row

HOUR = "1h"


async def get_health(request: Request) -> Response:
    desk = desk_of(request)
    streams: Streams = request.app.state.streams
    works = not (desk.engine.fenced.is_set() or streams.closing)
    working = {"engine": works, "scheduler": desk.follows_schedules(), "store": True}
    parts = {name: "healthy" if works else "unhealthy" for name, works in working.items()}
    try:
        await desk.engine.store.read("SELECT 1", ())
    except AstrariumError:
        parts["store"] = "unhealthy"
    for name, check in getattr(request.app.state, "components", {}).items():
        try:
            await check()
            parts[name] = "healthy"
        except AstrariumError:
            parts[name] = "unhealthy"
    status = "healthy" if set(parts.values()) == {"healthy"} else "unhealthy"
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return answer(wire.system.Health(status, desk.version, desk.uptime_s, now, parts), 200 if status == "healthy" else 503)


async def get_workers(request: Request) -> Response:
    desk, caller = await enter(request)
    settings: Settings = request.app.state.settings
    found = await list_workers(desk.engine.store, caller.scope, places=settings.max_processes, lease_s=settings.lease_s)
    return answer(found)


async def get_coordinators(request: Request) -> Response:
    """None: servers take work from the store they share, nobody hands it out."""
    await enter(request)
    return answer(wire.system.CoordinatorList([]))


async def get_resources(request: Request) -> Response:
    await enter(request)
    samples: Samples = request.app.state.samples
    span_s = parse_duration(request.query_params.get("duration") or HOUR)
    return answer(resource_history(samples.since(time.time() - span_s)))


ROOT_HEALTH = (
    Operation(
        "GET", "/health", "getRootHealth", "Whether the server works", get_health, answer=wire.system.Health, failures=(503,)
    ),
)  # fmt: skip
"""The same answer without the prefix, for load balancers and watchdogs."""
OPERATIONS = (
    row("GET", "/health", "getHealthStatus", "Whether the server works", get_health, answer=wire.system.Health, failures=(503,)),
    row("GET", "/workers", "getWorkers", "The servers that carry out steps", get_workers, answer=wire.system.WorkerList,
        needs="dags:read"),
    row("GET", "/services/coordinator", "getCoordinatorStatus", "Coordinators: there are none to be", get_coordinators,
        answer=wire.system.CoordinatorList, needs="dags:read"),
    row("GET", "/services/resources/history", "getResourceHistory", "How loaded the server's machine was", get_resources,
        answer=wire.system.ResourceHistory, needs="dags:read", failures=(400,),
        query=(Query("duration", "How far back, as `30m`, `1h` or `1h30m`; at most 24 h (1h)."),)),
)  # fmt: skip
