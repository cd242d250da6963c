"""Plans: what they are, what they can do next, and their graphs. Cost follows the members of the plan and their edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Raw

from .....kernel.ports import Store
from .....kernel.types import Scope
from ...machines.build import BuildState
from ...machines.plan.claim import ACTIONABLE
from ...views.text import moment, moment_or_none
from .. import wire
from .deployment import find_deployment

PART = 400
_COLUMNS = "id, build, deployment, settings, generation, activated_at, sealed_at, superseded_at, created_at"
_ONE = f"SELECT {_COLUMNS} FROM plans WHERE environment = ? AND id = ?"
_OF_BUILD = f"SELECT {_COLUMNS} FROM plans WHERE environment = ? AND build = ? ORDER BY generation DESC"
_JOINED = (
    " FROM plan_members m JOIN plans p ON p.id = m.plan"
    " JOIN instances i ON i.environment = p.environment AND i.deployment = p.deployment AND i.settings = p.settings AND i.hash = m.hash"
    " JOIN task_states s ON s.environment = p.environment AND s.task_id = m.task_id"
)
_BLOCKED = (
    "EXISTS (SELECT 1 FROM instance_edges e JOIN task_states u ON u.environment = e.environment AND u.task_id = e.upstream_task"
    " WHERE e.environment = p.environment AND e.deployment = p.deployment AND e.settings = p.settings AND e.downstream = m.hash"
    " AND u.status <> 'completed')"
)
_FRONTIER = (
    "SELECT m.task_id, i.id, m.hash, s.status, m.root, i.body, i.expanded_at, s.claim_until, s.preempted_at,"
    f" CASE WHEN {_BLOCKED} THEN 1 ELSE 0 END{_JOINED} WHERE m.plan = ? AND m.excluded_reason = '' ORDER BY m.task_id"
)
_ROOTS = f"SELECT m.task_id, i.id, m.hash, s.status, m.root, i.body{_JOINED} WHERE m.plan = ? AND m.root = 1 ORDER BY m.task_id"
_ATTEMPTS = (
    "SELECT task_id, count(*), sum(CASE WHEN claim_outcome = 'interrupted' OR outcome IN ('interrupted', 'preempted') THEN 1 ELSE 0 END)"
    " FROM executions WHERE build = ? GROUP BY task_id"
)
_COUNTS = (
    "SELECT s.status, CASE WHEN m.excluded_reason = '' THEN 0 ELSE 1 END, m.root, count(*) FROM plan_members m"
    " JOIN task_states s ON s.environment = m.environment AND s.task_id = m.task_id WHERE m.plan = ?"
    " GROUP BY s.status, CASE WHEN m.excluded_reason = '' THEN 0 ELSE 1 END, m.root"
)
_NODES = (
    "SELECT m.task_id, i.id, m.hash, t.namespace, t.name, s.status, m.root, m.admitted_by, m.excluded_at, m.excluded_reason"
    f"{_JOINED} JOIN tasks t ON t.environment = p.environment AND t.task_id = m.task_id WHERE m.plan = ? ORDER BY m.at, m.task_id"
)
_EDGES = (
    "SELECT upstream, downstream, dynamic FROM instance_edges WHERE environment = ? AND deployment = ? AND settings = ?"
    " AND downstream IN "
)
_DATA = "SELECT hash, data FROM things WHERE hash IN "


async def read_plan(store: Store, scope: Scope, id_: str, created: bool = False) -> wire.BuildPlan:
    """A plan that exists."""
    row = (await store.read(_ONE, (scope.environment, id_)))[0]
    return wire.BuildPlan(**_header(row), created=created)


def _header(row: tuple[Any, ...]) -> dict[str, Any]:
    id_, build, deployment, settings, generation, activated, sealed, superseded, _ = row
    return {
        "id": id_, "build_id": build, "deployment_id": deployment, "settings_hash": settings, "generation": generation,
        "activated_at": moment_or_none(activated), "sealed_at": moment_or_none(sealed), "superseded_at": moment_or_none(superseded),
    }  # fmt: skip


async def read_detail(store: Store, scope: Scope, id_: str) -> wire.PlanDetail:
    """A plan that exists."""
    return await _detail(store, scope, (await store.read(_ONE, (scope.environment, id_)))[0])


async def list_plans(store: Store, scope: Scope, build: str) -> list[wire.PlanDetail]:
    """The newest first."""
    return [await _detail(store, scope, row) for row in await store.read(_OF_BUILD, (scope.environment, build))]


async def _detail(store: Store, scope: Scope, row: tuple[Any, ...]) -> wire.PlanDetail:
    counts: dict[str, int] = {}
    members = roots = excluded = 0
    for status, out, root, count in await store.read(_COUNTS, (row[0],)):
        members, roots, excluded = members + count, roots + root * count, excluded + out * count
        if not out:
            counts[status] = counts.get(status, 0) + count
    return wire.PlanDetail(
        **_header(row), deployment=await find_deployment(store, scope, row[2]), created_at=moment(row[8]),
        is_active=row[5] > 0 and row[7] == 0, member_count=members, root_count=roots, excluded_count=excluded, member_counts=counts,
    )  # fmt: skip


async def read_attempts(store: Store, build: str) -> Mapping[str, tuple[int, int]]:
    """Task → how often it was started in a build, and how often it was interrupted."""
    return {task: (int(count), int(broken or 0)) for task, count, broken in await store.read(_ATTEMPTS, (build,))}


async def _bodies(store: Store, hashes: Iterable[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    wanted = sorted(set(hashes))
    for start in range(0, len(wanted), PART):
        part = wanted[start : start + PART]
        rows = await store.read(f"{_DATA}({','.join('?' * len(part))})", part)
        found |= {hash_: bytes(data) for hash_, data in rows}
    return found


async def read_frontier(
    store: Store, scope: Scope, build: BuildState, plan: str, closure: wire.PlanClosure | None, now: int
) -> wire.BuildFrontier:
    """`plan` is the active one, empty without one."""
    kept, made = build.kept, kept_lists()
    rows = await store.read(_FRONTIER, (plan,)) if plan else []
    complete = bool(plan) and kept.plans[plan].sealed_at > 0
    for row in rows:
        complete = complete and row[3] == "completed"
        list_ = _list_of(row, now)
        if list_ and (list_ == "running" or kept.status == "running"):
            made[list_].append(row)
    listed = [row for rows_ in made.values() for row in rows_]
    bodies = await _bodies(store, (row[5] for row in listed))
    attempts = await read_attempts(store, build.id) if listed else {}
    shown = {name: [_member(row, name, bodies, attempts) for row in rows_] for name, rows_ in made.items()}
    mine = kept.plans.get(plan)
    return wire.BuildFrontier(
        build.id, plan or None, mine.deployment if mine else None, mine.settings if mine else None,
        mine is not None and mine.sealed_at > 0, complete, kept.status, kept.reactive_app or None, kept.reactive_kwargs,
        shown["runnable"], shown["discovery"], shown["running"], closure,
    )  # fmt: skip


def kept_lists() -> dict[str, list[tuple[Any, ...]]]:
    return {"runnable": [], "discovery": [], "running": []}


def _list_of(row: tuple[Any, ...], now: int) -> str:
    """Which list of the frontier a member stands in, empty for none."""
    status, expanded, until, blocked = row[3], row[6], row[7], row[9]
    live = status == "running" and until > now
    if live:
        return "running"
    if not expanded:
        return "" if status == "completed" else "discovery"
    return "runnable" if (status in ACTIONABLE or status == "running") and not blocked else ""


def _member(
    row: tuple[Any, ...], list_: str, bodies: Mapping[str, bytes], attempts: Mapping[str, tuple[int, int]]
) -> wire.FrontierTask:
    task, instance, hash_, status, root, body = row[:6]
    shown = wire.FrontierTask(task, instance, hash_, status, bool(root), Raw(bodies[body]))
    if list_ in ("runnable", "running"):
        shown.attempts, shown.interruptions = attempts.get(task, (0, 0))
    if list_ == "running" and row[8]:
        shown.restart_expected_by = moment(row[7])
    return shown


async def read_roots(store: Store, scope: Scope, id_: str) -> wire.PlanRootTasks:
    """Of a plan that exists."""
    plan = await read_plan(store, scope, id_)
    rows = await store.read(_ROOTS, (id_,))
    bodies = await _bodies(store, (row[5] for row in rows))
    roots = [_member(row, "", bodies, {}) for row in rows]
    return wire.PlanRootTasks(id_, plan.build_id, plan.deployment_id, plan.settings_hash, roots)


async def read_graph(store: Store, scope: Scope, id_: str) -> wire.PlanGraph:
    """Of a plan that exists."""
    plan = await read_plan(store, scope, id_)
    rows = await store.read(_NODES, (id_,))
    attempts = await read_attempts(store, plan.build_id)
    nodes = [
        wire.PlanGraphNode(
            task,
            id_,
            hash_,
            namespace,
            name,
            status,
            bool(root),
            by,
            moment_or_none(out),
            reason or None,
            *attempts.get(task, (0, 0)),
        )
        for task, id_, hash_, namespace, name, status, root, by, out, reason in rows
    ]
    ids = {row[2]: row[1] for row in rows}
    edges, hashes = [], sorted(ids)
    for start in range(0, len(hashes), PART):
        part = hashes[start : start + PART]
        sql = f"{_EDGES}({','.join('?' * len(part))}) ORDER BY downstream, upstream"
        found = await store.read(sql, (scope.environment, plan.deployment_id, plan.settings_hash, *part))
        edges += [wire.PlanGraphEdge(ids[up], ids[down], bool(dynamic)) for up, down, dynamic in found if up in ids]
    return wire.PlanGraph(id_, plan.build_id, plan.deployment_id, plan.settings_hash, nodes, edges)
