"""What happens to a run as it happens: by a WebSocket, and by Server-Sent Events of the same frames."""

from __future__ import annotations

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from ....web.caller import caller_of
from ....web.stream import MEDIA, EventStream, Frames, Streams, as_pieces
from ....web.stream.socket import Manner
from ...operation import Query, Socket
from .. import wire
from ..desk import Desk
from ..work.stream import GraphStreams, parse_cursor
from .entry import RUN, row

HEADER, ITEM = "last-event-id", "last_event_id"
FROM = "from"
LIVE = "live"


async def frames_of(connection: HTTPConnection) -> Frames:
    """Raises `NotFound`, `Invalid`."""
    desk: Desk = connection.app.state.graphs
    streams: GraphStreams = connection.app.state.graph_streams
    found = await desk.row(await caller_of(connection), connection.path_params["run_id"])
    text = connection.headers.get(HEADER, "") or connection.query_params.get(ITEM, "") or connection.query_params.get("after", "")
    return await streams.frames(found, parse_cursor(text, found.alias), connection.query_params.get(FROM, "") == LIVE)


async def follow_run(websocket: WebSocket) -> Frames:
    return await frames_of(websocket)


async def get_run_events(request: Request) -> Response:
    streams: Streams = request.app.state.streams
    return EventStream(as_pieces(await frames_of(request)), streams)  # type: ignore[return-value]  # an answer is any ASGI application


AFTER = (
    Query(ITEM, "Go on after this frame; the header `Last-Event-ID` says the same and wins."),
    Query(FROM, "`live` = only what happens from now on.", choices=(LIVE,)),
)
OPERATIONS = (
    row("GET", RUN + "/events", "streamGraphRun", "Follow a run (Server-Sent Events)", get_run_events, needs="runs:read", query=AFTER,
        media=MEDIA, tells=wire.GraphFrame, failures=(404, 503)),
)  # fmt: skip
SOCKETS = (
    Socket(
        RUN + "/stream", "followGraphRun", "Follow a run (WebSocket)", follow_run, needs="runs:read",
        denial="capability 'runs:read' not granted", manner=Manner(finished="run finished"),
    ),
)  # fmt: skip
