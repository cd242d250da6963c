"""The log of deliveries: the runs of the surface `notices`, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ....errors import Invalid, NotFound, Problem, Refused
from ....kernel.engine import Engine
from ....kernel.ports import Store
from ....kernel.types import Scope
from ....runs.message import StepDelayed, StepEnded, StepStarted
from ....web.paging import Page
from .. import wire
from .run import shown_time
from .status import marks

SURFACE = "notices"
DELIVERED, FAILED, OPEN = "delivered", "failed", "open"
STATUSES = {
    DELIVERED: "status = 'ended' AND outcome = 'succeeded'",
    FAILED: "status = 'ended' AND outcome <> 'succeeded'",
    OPEN: "status <> 'ended'",
}
_COLUMNS = "id, name, alias, status, outcome, labels, created_at, ended_at, environment"
_OURS = "workspace = ? AND surface = ? AND parent_run = ''"


class DeliveryRow(NamedTuple):
    id: str
    name: str
    alias: str
    status: str
    outcome: str
    labels: str
    created_at: int
    ended_at: int
    environment: str

    @property
    def shown_status(self) -> str:
        return OPEN if self.status != "ended" else DELIVERED if self.outcome == "succeeded" else FAILED


class DeliveryFilter(NamedTuple):
    """What a list is narrowed to: the told DAG and run, how the delivery stands. Raises nothing: empty = all."""

    name: str = ""
    run: str = ""
    status: str = ""


def parse_status(text: str) -> str:
    """Raises `Invalid`."""
    if text and text not in STATUSES:
        problem = Problem(f"status must be one of {', '.join(STATUSES)}, not {text[:40]!r}", path="status")
        raise Invalid(problem.message, [problem])
    return text


async def list_deliveries(
    reader: Store, scope: Scope, wanted: DeliveryFilter, page: Page
) -> tuple[list[wire.notice.Notification], int]:
    """A page of deliveries and how many there are in all."""
    where, args = [_OURS], [scope.workspace, SURFACE]
    if wanted.name:
        where.append("name = ?")
        args.append(wanted.name)
    if wanted.run:
        where.append("alias = ?")
        args.append(wanted.run)
    if wanted.status:
        where.append(STATUSES[wanted.status])
    chosen = " AND ".join(where)
    total = await reader.read(f"SELECT count(*) FROM runs WHERE {chosen}", args)
    sql = f"SELECT {_COLUMNS} FROM runs WHERE {chosen} ORDER BY created_at DESC, id DESC LIMIT {page.size} OFFSET {page.offset}"
    rows = [DeliveryRow(*row) for row in await reader.read(sql, args)]
    return await _shown(reader, rows), int(total[0][0])


async def find_delivery(reader: Store, scope: Scope, id_: str) -> DeliveryRow:
    """Raises `NotFound`."""
    rows = await reader.read(f"SELECT {_COLUMNS} FROM runs WHERE {_OURS} AND id = ?", [scope.workspace, SURFACE, id_])
    if not rows:
        raise NotFound(f"there is no notification {id_[:80]!r}", hint="GET /api/v2/notifications lists them")
    return DeliveryRow(*rows[0])


async def details(engine: Engine, row: DeliveryRow) -> wire.notice.NotificationDetails:
    """One delivery with each of its tries; of one whose log was pruned, without them."""
    shown = (await _shown(engine.store, [row]))[0]
    attempts: list[wire.notice.Attempt] = []
    for event in await engine.tail.read_stream(f"run:{row.id}"):
        body = event.body
        if isinstance(body, StepStarted):
            attempts.append(wire.notice.Attempt(len(attempts) + 1, shown_time(event.at)))
        elif isinstance(body, (StepDelayed, StepEnded)) and attempts:
            attempts[-1].finished_at, attempts[-1].error = shown_time(event.at), body.error
    return wire.notice.NotificationDetails(**msgspec.structs.asdict(shown), attempts=attempts)


def check_retry(row: DeliveryRow) -> None:
    """Raises `Refused` unless the delivery has failed for good."""
    if row.shown_status == OPEN:
        raise Refused(
            f"notification {row.id} is still being delivered", code="already_running", hint="nextTryAt says when it is tried"
        )
    if row.shown_status == DELIVERED:
        raise Refused(f"notification {row.id} was delivered", code="already_delivered")


async def _shown(reader: Store, rows: Sequence[DeliveryRow]) -> list[wire.notice.Notification]:
    ids = [row.id for row in rows]
    if not ids:
        return []
    found = await reader.read(f"SELECT run, tries, error FROM steps WHERE run IN ({marks(ids)}) ORDER BY round", ids)
    tried: dict[str, tuple[int, str]] = {run: (int(tries), error) for run, tries, error in found}
    steps = [f"{id_}/0" for id_ in ids]
    dates = dict(await reader.read(f"SELECT id, not_before FROM jobs WHERE id IN ({marks(steps)})", steps))
    return [_notification(row, *tried.get(row.id, (0, "")), int(dates.get(f"{row.id}/0", 0))) for row in rows]


def _notification(row: DeliveryRow, tries: int, error: str, due: int) -> wire.notice.Notification:
    labels: dict[str, Any] = msgspec.json.decode(row.labels)
    status = row.shown_status
    return wire.notice.Notification(
        row.id, status, labels.get("kind", ""), labels.get("event", ""), row.name, row.alias, labels.get("to", ""),
        shown_time(row.created_at), tries, labels.get("step", ""), "" if status == DELIVERED else error,
        shown_time(due) if status == OPEN else "", shown_time(row.ended_at) if status != OPEN else "",
    )  # fmt: skip
