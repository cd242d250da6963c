"""Deployments, settings and limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from .....errors import NotFound
from .....kernel.ports import Store
from .....kernel.types import Scope
from ...machines.plan.claim import limit_slot
from ...machines.plan.deployment import LOCAL
from ...views.text import moment, moment_or_none
from .. import wire, wire_task

_CURRENT = (
    "(d.kind <> 'local' AND d.activated_at > 0 AND NOT EXISTS (SELECT 1 FROM deployments o WHERE o.environment = d.environment"
    " AND o.kind = d.kind AND o.app = d.app AND o.generation > d.generation AND o.activated_at > 0))"
)
_COLUMNS = "d.id, d.kind, d.app, d.code, d.image, d.modal_app, d.generation, d.deployed_at, d.activated_at"
_ONE = f"SELECT {_COLUMNS}, CASE WHEN {_CURRENT} THEN 1 ELSE 0 END FROM deployments d WHERE d.environment = ? AND d.id = ?"
_SETTINGS = "SELECT body FROM build_settings WHERE environment = ? AND hash = ?"
_LIMITS = "SELECT key, most FROM limits WHERE environment = ? AND most >= 0 ORDER BY key"
_HOLDERS = (
    "SELECT h.name, s.task_id, t.name, e.build, e.plan, e.id, e.started_at FROM slots h"
    " JOIN task_states s ON s.environment = ? AND s.task_id = substr(h.holder, ?)"
    " JOIN tasks t ON t.environment = s.environment AND t.task_id = s.task_id"
    " JOIN executions e ON e.environment = s.environment AND e.id = s.execution"
    " WHERE h.workspace = ? AND h.name >= ? AND h.name < ? AND h.until > ? ORDER BY h.name, e.started_at, s.task_id"
)


async def find_deployment(store: Store, scope: Scope, id_: str) -> wire.BuildDeployment | None:
    rows = await store.read(_ONE, (scope.environment, id_))
    return _shown(rows[0]) if rows else None


async def read_deployment(store: Store, scope: Scope, id_: str) -> wire.BuildDeployment:
    """Raises `NotFound` (`unknown_deployment`)."""
    found = await find_deployment(store, scope, id_)
    if found is None:
        raise NotFound(f"there is no deployment {id_}", code="unknown_deployment")
    return found


async def list_deployments(
    store: Store, scope: Scope, kind: str, app: str, current: bool, limit: int
) -> list[wire.BuildDeployment]:
    """The newest first."""
    where, args = "d.environment = ?", [scope.environment]
    for told, condition in ((kind, "d.kind = ?"), (app, "d.app = ?")):
        if told:
            where, args = f"{where} AND {condition}", [*args, told]
    where += f" AND {_CURRENT}" if current else ""
    sql = (
        f"SELECT {_COLUMNS}, CASE WHEN {_CURRENT} THEN 1 ELSE 0 END FROM deployments d WHERE {where}"
        " ORDER BY d.deployed_at DESC, d.id DESC LIMIT ?"
    )
    return [_shown(row) for row in await store.read(sql, (*args, limit))]


def _shown(row: Sequence[Any]) -> wire.BuildDeployment:
    id_, kind, app, code, image, modal_app, generation, deployed, activated, current = row
    return wire.BuildDeployment(
        id=id_, kind=kind, app_name=app, code_id=code, image_id=image, modal_app_id=modal_app, generation=generation,
        deployed_at=moment(deployed), activated_at=moment_or_none(activated), is_current=bool(current) and kind != LOCAL,
    )  # fmt: skip


def registered(shown: wire.BuildDeployment, created: bool) -> wire.RegisteredDeployment:
    return wire.RegisteredDeployment(**msgspec.structs.asdict(shown), created=created)


async def read_settings(store: Store, scope: Scope, hash_: str) -> wire.BuildSettings:
    """Raises `NotFound` (`unknown_settings`)."""
    rows = await store.read(_SETTINGS, (scope.environment, hash_))
    if not rows:
        raise NotFound(f"there are no settings {hash_}", code="unknown_settings")
    return wire.BuildSettings(hash_, msgspec.json.decode(rows[0][0], type=dict[str, str]))


async def list_limits(store: Store, scope: Scope, now: int, holders: bool) -> list[wire_task.ConcurrencyLimitUse]:
    """By key; who holds a place is told if `holders`."""
    first = limit_slot(scope.environment, "")
    args = (scope.environment, len(f"task:{scope.environment}/") + 1, scope.workspace, first, first[:-1] + "0", now)
    held: dict[str, list[wire_task.LimitHolder]] = {}
    for slot, task, name, build, plan, execution, started in await store.read(_HOLDERS, args):
        held.setdefault(slot[len(first) :], []).append(wire_task.LimitHolder(task, name, build, plan, execution, moment(started)))
    return [
        wire_task.ConcurrencyLimitUse(key, most, len(held.get(key, ())), held.get(key, []) if holders else None)
        for key, most in await store.read(_LIMITS, (scope.environment,))
    ]
