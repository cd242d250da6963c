"""Live streams: what happens to runs, and what their steps write, as Server-Sent Events. (An addition to Dagu 1.30's `/api/v2`.)"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ....web.stream import MEDIA, EventStream, Pieces, Streams, cursor_of, parse_flag
from ...operation import Query
from ..views.live import Wanted, parse_position
from ..views.log import parse_stream
from ..work.live.follow import Live
from ..work.live.text import Output, parse_place
from .entry import RUN, STEP, STREAM, SUB, SUB_STEP, enter, row, run_row

AFTER = Query("after", "Go on after the frame of this id; `Last-Event-ID` says the same and wins.")
TYPE = Query("type", "Only events of these types, e.g. `run.ended,step`; a word before the dot means all of them.")
FOLLOW = Query("follow", "Go on after the run's end, as it may be retried.", "boolean")
NOTHING_MORE = 204
"""Tells a browser not to connect again."""


def live_of(request: Request) -> Live:
    live: Live = request.app.state.live
    return live


def stream(request: Request, pieces: Pieces) -> Response:
    streams: Streams = request.app.state.streams
    return EventStream(pieces, streams)  # type: ignore[return-value]  # an answer is any ASGI application


def wanted_of(request: Request) -> Wanted:
    asked = request.query_params
    types = frozenset(part.strip() for part in asked.get("type", "").split(",") if part.strip())
    return Wanted(asked.get("name", "").strip(), asked.get("dagRunId", "").strip(), types)


async def get_events(request: Request) -> Response:
    desk, caller = await enter(request)
    head = await desk.engine.tail.head(caller.scope.workspace)
    begun = parse_position(cursor_of(request), head) or (head, 0)
    return stream(request, live_of(request).all_events(caller.scope.workspace, wanted_of(request), begun))


async def get_run_events(request: Request) -> Response:
    desk, caller = await enter(request)
    run, live, on = await run_row(request, desk, caller), live_of(request), parse_flag(request, "follow")
    begun = parse_position(cursor_of(request), await desk.engine.tail.head(run.workspace))
    after, part = begun or (0, 0)
    more = await live.check_kept(run, after - 1 if part else after)
    if begun and not more and not on:
        return Response(status_code=NOTHING_MORE)
    wanted = Wanted(types=wanted_of(request).types)
    return stream(request, live.run_events(run, wanted, (after, part), on))


async def get_run_text(request: Request) -> Response:
    desk, caller = await enter(request)
    run, live = await run_row(request, desk, caller), live_of(request)
    begun = parse_position(cursor_of(request), await desk.engine.tail.head(run.workspace))
    after = begun[0] if begun else 0
    if not await live.check_kept(run, after) and begun:
        return Response(status_code=NOTHING_MORE)
    return stream(request, live.run_text(run, await desk.views.graph(run), after))


async def get_step_text(request: Request) -> Response:
    desk, caller = await enter(request)
    which, place = parse_stream(request.query_params), parse_place(cursor_of(request))
    run = await run_row(request, desk, caller)
    graph = await desk.views.graph(run)
    output = Output(run, graph, desk.node_of(graph, run, request.path_params["stepName"]), which)
    pieces = await live_of(request).step_text(output, place)
    return Response(status_code=NOTHING_MORE) if pieces is None else stream(request, pieces)


OPERATIONS = (
    row("GET", "/events", "streamEvents", "Follow what happens to all runs (Server-Sent Events)", get_events,
        query=(AFTER, Query("name", "Only runs of this DAG."), Query("dagRunId", "Only this run and its sub-runs."), TYPE),
        needs="runs:read", media=MEDIA, failures=(400,)),
    row("GET", RUN + "/events", "streamDAGRunEvents", "Follow what happens to a run and its steps (Server-Sent Events)",
        get_run_events, query=(AFTER, TYPE, FOLLOW), needs="runs:read", media=MEDIA, failures=(400, 404, 410)),
    row("GET", RUN + "/log/stream", "streamDAGRunLog", "Follow the run's own log (Server-Sent Events)", get_run_text,
        query=(AFTER,), needs="runs:read", media=MEDIA, failures=(400, 404, 410)),
    row("GET", STEP + "/log/stream", "streamDAGRunStepLog", "Follow the output of a step (Server-Sent Events)", get_step_text,
        query=(AFTER, STREAM), needs="runs:read", media=MEDIA, failures=(400, 404)),
    row("GET", SUB + "/events", "streamSubDAGRunEvents", "Follow what happens to a sub-run (Server-Sent Events)",
        get_run_events, query=(AFTER, TYPE, FOLLOW), needs="runs:read", media=MEDIA, failures=(400, 404, 410)),
    row("GET", SUB + "/log/stream", "streamSubDAGRunLog", "Follow a sub-run's own log (Server-Sent Events)", get_run_text,
        query=(AFTER,), needs="runs:read", media=MEDIA, failures=(400, 404, 410)),
    row("GET", SUB_STEP + "/log/stream", "streamSubDAGRunStepLog", "Follow the output of a sub-run's step (Server-Sent Events)",
        get_step_text, query=(AFTER, STREAM), needs="runs:read", media=MEDIA, failures=(400, 404)),
)  # fmt: skip
