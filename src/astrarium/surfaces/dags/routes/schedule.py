"""Schedules: to suspend one, and who follows them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ....kernel.types import Command
from ...operation import answer, read_body
from .. import wire
from ..machines.slot import SuspendSchedule
from ..views.schedule import list_schedulers
from .entry import DAG, enter, row


async def suspend_dag(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.schedule.Suspend)
    entry = await desk.find(request.path_params["fileName"])
    order = SuspendSchedule(body.suspend)
    await desk.engine.submit(Command(f"schedule:{entry.stem}", order, caller.scope, caller.actor))
    return answer({})


async def get_schedulers(request: Request) -> Response:
    desk, _ = await enter(request)
    return answer(await list_schedulers(desk.engine.store))


OPERATIONS = (
    row(
        "POST", DAG + "/suspend", "updateDAGSuspensionState", "Ignore a DAG's schedule, or follow it again", suspend_dag,
        body=wire.schedule.Suspend, needs="runs:change", failures=(400, 404),
    ),
    row(
        "GET", "/services/scheduler", "getSchedulerStatus", "The servers that follow the schedules", get_schedulers,
        answer=wire.schedule.SchedulerList, needs="dags:read",
    ),
)  # fmt: skip
