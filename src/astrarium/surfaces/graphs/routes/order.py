"""Orders to a run that lives, or lived: cancel, pause, resume, answer, fork."""

from __future__ import annotations

import math

from starlette.requests import Request
from starlette.responses import Response

from ....errors import Invalid, Problem
from ....web.caller import caller_of
from ...operation import Query
from .. import wire
from ..work.bucket import Buckets
from .entry import RUN, answer, check_open, entered_run, read_fields, row

MOST_GRACE_S = 86_400.0


async def cancel_run(request: Request) -> Response:
    ask, ignored = await read_fields(request, wire.CancelGraphRun, required=False)
    grace_s = ask.grace_seconds
    if grace_s is not None and not (0 <= grace_s <= MOST_GRACE_S and math.isfinite(grace_s)):
        problem = Problem(f"must be from 0 to {MOST_GRACE_S:g} seconds", path="body.grace_seconds")
        raise Invalid(problem.message, [problem])
    desk, caller, found = await entered_run(request)
    await desk.cancel(caller, found, grace_s)
    return answer(await desk.summary(found), ignored=ignored)


async def pause_run(request: Request) -> Response:
    desk, caller, found = await entered_run(request)
    await desk.pause(caller, found)
    return answer(await desk.summary(found))


async def resume_run(request: Request) -> Response:
    ask, ignored = await read_fields(request, wire.ResumeGraphRun, required=False)
    check_open(request)
    desk, caller, found = await entered_run(request)
    await desk.resume(caller, found, ask.from_step)
    return answer(wire.StartedGraphRun(found.alias, "pending"), 202, ignored)


async def respond_run(request: Request) -> Response:
    ask, ignored = await read_fields(request, wire.RespondRun)
    desk, caller, found = await entered_run(request)
    await desk.respond(caller, found, ask, request.url.path)
    return answer(await desk.summary(found), ignored=ignored)


async def fork_run(request: Request) -> Response:
    """A token is taken when the body is known to be good, and before the run is looked for (Stargraph 0.8)."""
    caller = await caller_of(request)
    ask, ignored = await read_fields(request, wire.ForkRequest)
    check_open(request)
    buckets: Buckets = request.app.state.fork_buckets
    buckets.take(f"{caller.scope.workspace}/{caller.actor}")
    desk, caller, found = await entered_run(request)
    told = await desk.fork(caller, found, ask, request.url.path)
    return answer(told, 202 if "respond-async" in request.headers.get("prefer", "") else 200, ignored)


OPERATIONS = (
    row("POST", RUN + "/cancel", "cancelGraphRun", "Cancel a run; the step under way ends by itself", cancel_run, needs="runs:cancel",
        body=wire.CancelGraphRun, body_required=False, answer=wire.GraphRun, failures=(404, 409)),
    row("POST", RUN + "/pause", "pauseGraphRun", "Pause a run before its next step", pause_run, needs="runs:pause",
        answer=wire.GraphRun, failures=(404, 409)),
    row("POST", RUN + "/resume", "resumeGraphRun", "Go on with a run that is paused or did not end well", resume_run, needs="runs:resume",
        body=wire.ResumeGraphRun, body_required=False, answer=wire.StartedGraphRun, status=202, failures=(404, 409, 503)),
    row("POST", RUN + "/respond", "respondGraphRun", "Answer what a run asks", respond_run, needs="runs:respond", body=wire.RespondRun,
        answer=wire.GraphRun, failures=(403, 404, 409)),
    row("POST", RUN + "/counterfactual", "forkGraphRun", "Start a run with this one's past up to a step, and something different",
        fork_run, needs="counterfactual:run", body=wire.ForkRequest, answer=wire.ForkedRun, failures=(404, 409, 503), others=(202,),
        headers=(Query("Prefer", "`respond-async` is answered 202."),)),
)  # fmt: skip
