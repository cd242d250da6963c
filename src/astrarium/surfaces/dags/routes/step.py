"""Steps of runs and of sub-runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...operation import answer, read_body
from .. import wire
from ..views.log import parse_stream, parse_window, step_log
from .entry import LINES, STEP, STREAM, SUB_STEP, enter, row, run_row


async def get_step_log(request: Request) -> Response:
    desk, caller = await enter(request)
    window, stream = parse_window(request.query_params), parse_stream(request.query_params)
    row = await run_row(request, desk, caller)
    graph, _, step = await desk.step(row, request.path_params["stepName"])
    return answer(await step_log(desk.files, row, graph, step, stream, window))


async def mark_step(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.run.MarkStatus)
    await desk.mark(caller, await run_row(request, desk, caller), request.path_params["stepName"], body)
    return answer({})


async def approve_step(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.run.ApproveStep, required=False)
    row = await run_row(request, desk, caller)
    return answer(await desk.approve(caller, row, request.path_params["stepName"], body))


async def reject_step(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.run.RejectStep, required=False)
    row = await run_row(request, desk, caller)
    return answer(await desk.reject(caller, row, request.path_params["stepName"], body))


OPERATIONS = (
    row("GET", STEP + "/log", "getDAGRunStepLog", "Output of a step", get_step_log,
        needs="runs:read", answer=wire.run.Log, query=(*LINES, STREAM)),
    row("PATCH", STEP + "/status", "updateDAGRunStepStatus", "Edit a step", mark_step,
        needs="runs:change", body=wire.run.MarkStatus,
         failures=(400, 404)),
    row("POST", STEP + "/approve", "approveDAGRunStep", "Approve a waiting step", approve_step,
        needs="runs:change", body=wire.run.ApproveStep,
         body_required=False, answer=wire.run.Approved, failures=(400, 404)),
    row("POST", STEP + "/reject", "rejectDAGRunStep", "Reject a waiting step", reject_step,
        needs="runs:change", body=wire.run.RejectStep,
         body_required=False, answer=wire.run.Rejected, failures=(400, 404)),
    row("GET", SUB_STEP + "/log", "getSubDAGRunStepLog", "Output of a sub-run's step", get_step_log,
        needs="runs:read", answer=wire.run.Log,
         query=(*LINES, STREAM)),
    row("PATCH", SUB_STEP + "/status", "updateSubDAGRunStepStatus", "Edit a sub-run's step", mark_step,
        needs="runs:change", body=wire.run.MarkStatus,
         failures=(400, 404)),
    row("POST", SUB_STEP + "/approve", "approveSubDAGRunStep", "Approve a sub-run's waiting step", approve_step,
         needs="runs:change", body=wire.run.ApproveStep, body_required=False, answer=wire.run.Approved, failures=(400, 404)),
    row("POST", SUB_STEP + "/reject", "rejectSubDAGRunStep", "Reject a sub-run's waiting step", reject_step,
         needs="runs:change", body=wire.run.RejectStep, body_required=False, answer=wire.run.Rejected, failures=(400, 404)),
)  # fmt: skip
