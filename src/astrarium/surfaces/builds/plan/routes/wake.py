"""Builds that ticks drive."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .....errors import Invalid, Problem
from ....operation import Query, answer, read_body
from ...machines.plan.wake import AcquireLease, ReleaseLease, RenewLease
from .. import wire, wire_task
from .entry import BUILD, LIMIT, READ, WRITE, enter, row, text_of, uuid_of, wakes_of, whole

CANDIDATES, SUMMARIES, SUMMARIES_MOST, STALLED = 20, 20, 200, 200
TTL_LEAST_S, TTL_MOST_S, TTL_S = 5, 3600, 60
OLDER_S, OLDER_MOST_S = 300, 1_000_000_000
OWNER = Query("owner_id", "Who schedules.")
TTL = Query("ttl_seconds", "For how long, 5 to 3600 seconds (60).", "integer")
SPAWN = Query("can_spawn", "Whether the caller can start a tick itself.", "boolean")
OLDER = Query("older_than_seconds", "For how long nobody came (300).", "integer")


async def set_reactive(request: Request) -> Response:
    _, caller = await enter(request)
    body = await read_body(request, wire_task.ReactiveMeta)
    return answer(await wakes_of(request).set_reactive(caller, uuid_of(request, "build_id"), body))


def _noticed(word: str) -> Any:
    async def notice(request: Request) -> Response:
        _, caller = await enter(request)
        told: wire_task.BuildNotice = await getattr(wakes_of(request), word)(caller, uuid_of(request, "build_id"))
        return answer(told)

    return notice


async def get_candidates(request: Request) -> Response:
    _, caller = await enter(request)
    return answer(await wakes_of(request).candidates(caller, whole(request, LIMIT.name, CANDIDATES, CANDIDATES)))


def _owner(request: Request) -> str:
    owner = text_of(request, OWNER.name)
    if owner is None:
        raise Invalid("owner_id: Field required", [Problem("Field required", path="query.owner_id")])
    return owner


def _leased(order: Any) -> Any:
    async def lease(request: Request) -> Response:
        _, caller = await enter(request)
        ttl_s = whole(request, TTL.name, TTL_S, TTL_MOST_S, TTL_LEAST_S)
        return answer(await wakes_of(request).lease(caller, uuid_of(request, "build_id"), order(_owner(request), ttl_s)))

    return lease


async def release_lease(request: Request) -> Response:
    _, caller = await enter(request)
    return answer(await wakes_of(request).lease(caller, uuid_of(request, "build_id"), ReleaseLease(_owner(request))))


async def tell_tick(request: Request) -> Response:
    _, caller = await enter(request)
    body = await read_body(request, dict[str, Any])
    return answer(await wakes_of(request).tell(caller, uuid_of(request, "build_id"), body), 201)


async def get_summaries(request: Request) -> Response:
    _, caller = await enter(request)
    limit = whole(request, LIMIT.name, SUMMARIES, SUMMARIES_MOST)
    return answer(await wakes_of(request).told(caller, uuid_of(request, "build_id"), limit))


async def get_stalled(request: Request) -> Response:
    _, caller = await enter(request)
    older_s = whole(request, OLDER.name, OLDER_S, OLDER_MOST_S, 0)
    return answer(await wakes_of(request).stalled(caller, older_s, whole(request, LIMIT.name, STALLED, 500)))


OPERATIONS = (
    row("PUT", BUILD + "/reactive-meta", "setReactiveMeta", "Say which app schedules a build", set_reactive, WRITE,
        body=wire_task.ReactiveMeta, answer=wire.PlannedBuild),
    row("POST", BUILD + "/notify", "notifyBuild", "Ask for a tick", _noticed("notify"), WRITE, query=(SPAWN,),
        answer=wire_task.BuildNotice),
    row("GET", BUILD + "/notify", "getBuildNotice", "Whether a build wants a tick", _noticed("notice"), READ, answer=wire_task.BuildNotice),
    row("DELETE", BUILD + "/notify", "takeBuildNotice", "Say that a tick begins", _noticed("take"), WRITE, answer=wire_task.BuildNotice),
    row("POST", "/builds/wake-candidates", "takeWakeCandidates", "Builds that want a tick and have nobody for it", get_candidates, WRITE,
        query=(LIMIT,), answer=wire_task.WakeCandidates),
    row("POST", BUILD + "/scheduler-lease", "acquireSchedulerLease", "Become the scheduler of a build", _leased(AcquireLease), WRITE,
        query=(OWNER, TTL), answer=wire_task.SchedulerLease),
    row("PUT", BUILD + "/scheduler-lease", "renewSchedulerLease", "Stay the scheduler of a build", _leased(RenewLease), WRITE,
        query=(OWNER, TTL), answer=wire_task.SchedulerLease),
    row("DELETE", BUILD + "/scheduler-lease", "releaseSchedulerLease", "Leave a build to others", release_lease, WRITE, query=(OWNER,),
        answer=wire_task.SchedulerLease),
    row("POST", BUILD + "/tick-summaries", "tellTick", "Tell what a tick did", tell_tick, WRITE, body=dict[str, Any],
        answer=wire_task.TickSummary, status=201),
    row("GET", BUILD + "/tick-summaries", "listTickSummaries", "List what ticks did, the newest first", get_summaries, READ,
        query=(LIMIT,), answer=wire_task.TickSummaries),
    row("GET", "/stalled-builds", "listStalledBuilds", "List builds that wait for a tick in vain", get_stalled, READ,
        query=(OLDER, LIMIT), answer=wire_task.StalledBuilds),
)  # fmt: skip
