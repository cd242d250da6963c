"""A build followed live, as Server-Sent Events. (An addition: Stardag's clients ask again and again.)"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ....web.stream import MEDIA, EventStream, Streams, cursor_of
from ...feed import Feed
from ...operation import Query
from ..machines.build import ENDS
from ..views.live import BuildLog, parse_cursor
from .entry import BUILD, READ, build_id, enter, row

AFTER = Query("after", "Go on after the frame of this id; `Last-Event-ID` says the same and wins.")
NOTHING_MORE = 204
"""Tells a browser not to connect again."""


async def stream_build(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = build_id(request)
    state = await desk.build(caller, id_)
    head = await desk.engine.tail.head(caller.scope.workspace)
    after = parse_cursor(cursor_of(request), head)
    ended = state.kept.status in ENDS
    feed: Feed = request.app.state.feed
    log = BuildLog(desk.engine, feed, caller.scope, id_, ended)
    if after and ended and not await log.past(after, head, 1):
        return Response(status_code=NOTHING_MORE)
    streams: Streams = request.app.state.streams
    return EventStream(log.frames(after), streams)  # type: ignore[return-value]  # an answer is any ASGI application


OPERATIONS = (
    row("GET", BUILD + "/stream", "streamBuild", "Follow a build and its tasks until it ends (Server-Sent Events)", stream_build, READ,
        query=(AFTER,), media=MEDIA),
)  # fmt: skip
