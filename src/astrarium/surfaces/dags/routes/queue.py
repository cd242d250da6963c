"""Queues, and what goes through them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...operation import answer, read_body
from .. import wire
from ..views.query import SURFACE
from ..views.queue import queues
from .entry import DAG, RUN, enter, row, run_row


async def get_queues(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await queues(desk.engine.store.read, caller.scope, SURFACE, desk.queues, desk.views.summary))


async def enqueue_dag(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.queue.EnqueueDag, required=False)
    return answer(wire.run.Started(await desk.start_dag(caller, request.path_params["fileName"], body)))


async def enqueue_spec(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(wire.run.Started(await desk.start_spec(caller, await read_body(request, wire.queue.EnqueueSpec))))


async def reschedule(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.queue.Reschedule, required=False)
    return answer(await desk.reschedule(caller, await run_row(request, desk, caller), body))


async def dequeue(request: Request) -> Response:
    desk, caller = await enter(request)
    await desk.dequeue(caller, await run_row(request, desk, caller))
    return answer({})


async def stop_all(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(wire.shape.Errors(await desk.stop_all(caller, request.path_params["fileName"])))


OPERATIONS = (
    row("GET", "/queues", "listQueues", "List queues with their runs", get_queues, needs="runs:read", answer=wire.queue.Queues),
    row("POST", DAG + "/enqueue", "enqueueDAGDAGRun", "Put a run into its queue", enqueue_dag, needs="runs:start",
         body=wire.queue.EnqueueDag, body_required=False, answer=wire.run.Started, failures=(400, 404, 409)),
    row("POST", "/dag-runs/enqueue", "enqueueDAGRunFromSpec", "Put a run of a text that is no file into its queue", enqueue_spec,
         needs="runs:start", body=wire.queue.EnqueueSpec, answer=wire.run.Started, failures=(400, 409)),
    row("POST", RUN + "/reschedule", "rescheduleDAGRun", "Put a new run of an old one's definition and parameters into its queue",
         reschedule, needs="runs:start", body=wire.queue.Reschedule, body_required=False, answer=wire.queue.Rescheduled,
         failures=(400, 404, 409)),
    row("GET", RUN + "/dequeue", "dequeueDAGRun", "Take a waiting run out of its queue", dequeue, needs="runs:change",
         failures=(400, 404), changes=True),
    row("POST", RUN + "/dequeue", "dequeueDAGRunByPost", "Take a waiting run out of its queue", dequeue, needs="runs:change",
         failures=(400, 404)),
    row("POST", DAG + "/stop-all", "stopAllDAGRuns", "Stop every active run of a DAG, waiting ones too", stop_all,
         needs="runs:change", answer=wire.shape.Errors),
)  # fmt: skip
