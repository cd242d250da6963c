"""The list of DAG files: narrowed, sorted, one page of it, with each one's newest run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ....errors import Invalid, Problem
from ....kernel.types import Scope
from ....spec.cron import next_slot, parse_cron
from ....web.paging import pages, parse_page
from .. import wire
from ..catalog import Catalog, Entry
from . import definition, query
from .run import RunViews, no_summary

PAGE_CAP = 200
SORTS = ("name", "nextRun")
NEVER = datetime.max.replace(tzinfo=UTC)


async def list_dags(catalog: Catalog, views: RunViews, scope: Scope, asked: Mapping[str, str]) -> wire.definition.DagList:
    """A page of the files. Raises `Invalid` for parameters that make no sense."""
    page = parse_page(asked, cap=PAGE_CAP)
    sort, order = check_sort(asked.get("sort") or "name", asked.get("order") or "asc")
    part, tag = asked.get("name", "").lower(), asked.get("tag", "").strip().lower()
    entries = [entry for entry in await asyncio.to_thread(catalog.entries) if matches(entry, part, tag)]
    if sort == "nextRun":
        now = datetime.now(UTC)
        slots = {entry.path: next_run(entry, now) for entry in entries}
        planned = sorted((entry for entry in entries if slots[entry.path] < NEVER), key=lambda entry: slots[entry.path])
        idle = [entry for entry in entries if slots[entry.path] == NEVER]
        entries = [*(reversed(planned) if order == "desc" else planned), *idle]
    elif order == "desc":
        entries.reverse()
    shown = entries[page.offset : page.offset + page.size]
    latest = await query.latest_runs(views.reader, scope, [entry.name for entry in shown])
    dags = [
        wire.definition.DagFile(
            entry.file_name, definition.entry_dag(entry),
            views.summary(latest[entry.name]) if entry.name in latest else no_summary(entry.name), False, entry.errors,
        )
        for entry in shown
    ]  # fmt: skip
    place = pages(page, len(entries))
    return wire.definition.DagList(dags, [], wire.shape.Pagination(place.total, place.current, place.last, place.next, place.previous))


def check_sort(sort: str, order: str) -> tuple[str, str]:
    problems: list[Problem] = []
    if sort not in SORTS:
        problems.append(Problem(f"sort must be one of {', '.join(SORTS)}, not {sort[:40]!r}", path="sort"))
    if order not in ("asc", "desc"):
        problems.append(Problem(f"order must be asc or desc, not {order[:40]!r}", path="order"))
    if problems:
        raise Invalid("; ".join(problem.message for problem in problems), problems)
    return sort, order


def matches(entry: Entry, part: str, tag: str) -> bool:
    if part and part not in entry.file_name.lower() and part not in entry.name.lower():
        return False
    return not tag or (entry.dag is not None and tag in entry.dag.tags)


def next_run(entry: Entry, now: datetime) -> datetime:
    """The file's next start; `NEVER` without a schedule."""
    crons: Sequence[str] = entry.dag.schedule.start if entry.dag is not None else ()
    zone = now.astimezone().tzinfo or UTC
    slots = [slot for cron in crons if (slot := next_slot(parse_cron(cron), now, zone)) is not None]
    return min(slots, default=NEVER)
