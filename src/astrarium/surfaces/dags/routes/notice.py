"""The log of deliveries."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ....kernel.types import Command
from ....runs.message import ReopenRun
from ....web.paging import pages, parse_page
from ...operation import Query, answer
from .. import wire
from ..views import notice
from .entry import PAGING, enter, row

DELIVERY = "/notifications/{notificationId}"
MOST = 200


async def get_deliveries(request: Request) -> Response:
    desk, caller = await enter(request)
    asked = request.query_params
    wanted = notice.DeliveryFilter(asked.get("name", ""), asked.get("dagRunId", ""), notice.parse_status(asked.get("status", "")))
    page = parse_page(asked, cap=MOST)
    found, total = await notice.list_deliveries(desk.engine.store, caller.scope, wanted, page)
    place = pages(page, total)
    shown = wire.shape.Pagination(place.total, place.current, place.last, place.next, place.previous)
    return answer(wire.notice.NotificationList(found, shown))


async def get_delivery(request: Request) -> Response:
    desk, caller = await enter(request)
    found = await notice.find_delivery(desk.engine.store, caller.scope, request.path_params["notificationId"])
    return answer(wire.notice.NotificationAnswer(await notice.details(desk.engine, found)))


async def retry_delivery(request: Request) -> Response:
    desk, caller = await enter(request)
    found = await notice.find_delivery(desk.engine.store, caller.scope, request.path_params["notificationId"])
    notice.check_retry(found)
    await desk.engine.submit(Command(f"run:{found.id}", ReopenRun(), caller.scope, caller.actor))
    again = await notice.find_delivery(desk.engine.store, caller.scope, found.id)
    return answer(wire.notice.NotificationAnswer(await notice.details(desk.engine, again)))


OPERATIONS = (
    row(
        "GET", "/notifications", "listNotifications", "Deliveries of mails and webhooks about runs, newest first", get_deliveries,
        answer=wire.notice.NotificationList, needs="runs:read",
        query=(
            Query("name", "The DAG's name."), Query("dagRunId", "The run's id."),
            Query("status", "How it stands.", choices=tuple(notice.STATUSES)), *PAGING,
        ),
    ),
    row(
        "GET", DELIVERY, "getNotification", "A delivery with its tries", get_delivery, answer=wire.notice.NotificationAnswer,
        needs="runs:read",
    ),
    row(
        "POST", DELIVERY + "/retry", "retryNotification", "Try a failed delivery again", retry_delivery,
        answer=wire.notice.NotificationAnswer, needs="runs:change", failures=(404, 409),
    ),
)  # fmt: skip
