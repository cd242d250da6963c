"""`/metrics`: numbers for Prometheus."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from ....config import Settings
from ....web.caller import PERSONAL, caller_of
from ....web.metric import CONTENT_TYPE, exposition
from ....web.stream import Streams
from ...gate import admit
from ...operation import Operation
from ..work.count import Meter, server_families
from .entry import desk_of, row

READ = "metrics:read"
TEXT = "text/plain"
PUBLIC = "public"


async def get_metrics(request: Request) -> Response:
    """Open to everybody or not, as the setting says: so the table asks for nothing, and the gate is asked here."""
    settings: Settings = request.app.state.settings
    meter: Meter = request.app.state.meter
    streams: Streams = request.app.state.streams
    workspace = PERSONAL.workspace
    if settings.metrics != PUBLIC:
        caller = await caller_of(request)
        await admit(request, caller, READ, "getMetrics")
        workspace = caller.scope.workspace
    desk = desk_of(request)
    own = server_families(desk.version, desk.uptime_s, desk.follows_schedules(), desk.catalog, desk.engine, streams.open)
    families = [*await asyncio.to_thread(list, own), *await meter.families(workspace)]
    for told in getattr(request.app.state, "families", ()):
        families += await told(workspace)
    return Response(exposition(families), media_type=CONTENT_TYPE)


ROOT_METRICS = (Operation("GET", "/metrics", "getRootMetrics", "Numbers for Prometheus, as text", get_metrics, media=TEXT),)
"""The same without the prefix, where Prometheus looks by default."""
OPERATIONS = (row("GET", "/metrics", "getMetrics", "Numbers for Prometheus, as text", get_metrics, media=TEXT),)
