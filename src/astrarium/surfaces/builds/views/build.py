"""Builds: lists, one, and its graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ....kernel.ports import Store
from ....kernel.types import Scope
from ....web.paging import Page
from ...tenancy.workspace.body import actor_id, shown_id
from ...tenancy.workspace.person import Person, people
from .. import wire
from ..machines.row import BUILDS
from .text import moment, moment_or_none

_COLUMNS = ", ".join(column.name for column in BUILDS.columns)
_ONE = f"SELECT {_COLUMNS} FROM builds WHERE id = ?"
_RUNNING = "SELECT 1 FROM builds WHERE environment = ? AND status = 'running' LIMIT 1"
_NODES = (
    "SELECT t.id, t.task_id, t.name, t.namespace, s.status, s.assets FROM build_tasks b"
    " JOIN tasks t ON t.environment = ? AND t.task_id = b.task_id"
    " JOIN task_states s ON s.environment = ? AND s.task_id = b.task_id"
    " WHERE b.build = ? ORDER BY t.created_at, t.task_id"
)
_EDGES = (
    "SELECT e.upstream, e.downstream FROM build_tasks d"
    " JOIN task_edges e ON e.environment = ? AND e.downstream = d.task_id"
    " JOIN build_tasks u ON u.build = d.build AND u.task_id = e.upstream"
    " WHERE d.build = ? ORDER BY e.downstream, e.upstream"
)


async def read_build(store: Store, id_: str) -> wire.Build:
    """A build that exists."""
    rows = await store.read(_ONE, (id_,))
    return (await show_builds(store, rows))[0]


async def list_builds(store: Store, scope: Scope, page: Page, status: str = "") -> wire.BuildList:
    """The builds of an environment, the newest first; only those of one status when it is given."""
    where, args = "environment = ?", [scope.environment]
    if status:
        where, args = where + " AND status = ?", [*args, status]
    total = int((await store.read(f"SELECT count(*) FROM builds WHERE {where}", args))[0][0])
    sql = f"SELECT {_COLUMNS} FROM builds WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?"
    rows = await store.read(sql, (*args, page.size, page.offset)) if page.offset < total else []
    return wire.BuildList(await show_builds(store, rows), total, page.number, page.size)


async def has_running(store: Store, scope: Scope) -> bool:
    """Whether a build of the environment has not ended."""
    return bool(await store.read(_RUNNING, (scope.environment,)))


async def read_graph(store: Store, scope: Scope, id_: str) -> wire.BuildGraph:
    """The tasks of a build and the dependencies between them."""
    rows = await store.read(_NODES, (scope.environment, scope.environment, id_))
    ids = {task_id: id_ for id_, task_id, *_ in rows}
    edges = await store.read(_EDGES, (scope.environment, id_))
    return wire.BuildGraph(
        [wire.BuildGraphNode(*row) for row in rows],
        [
            wire.BuildGraphEdge(ids[upstream], ids[downstream])
            for upstream, downstream in edges
            if upstream in ids and downstream in ids
        ],
    )


async def show_builds(store: Store, rows: Iterable[tuple[Any, ...]]) -> list[wire.Build]:
    """Rows of `builds`, whole, as clients see them. Who ended one is looked up only where somebody is named."""
    rows = list(rows)
    known = {person.external_id: person for person in (await people(store)).values()} if any(row[-1] for row in rows) else {}
    return [_shown(row, known) for row in rows]


def _shown(row: tuple[Any, ...], known: dict[str, Person]) -> wire.Build:
    id_, _, environment, name, description, commit, roots, user, status, created, started, completed, _, by = row
    person = known.get(by)
    return wire.Build(
        id_, shown_id(environment), actor_id(user) if user else None, name, description, commit,
        msgspec.json.decode(roots, type=list[str]), moment(created), status, moment_or_none(started), moment_or_none(completed),
        wire.BuildPerson(person.external_id, person.email, person.name) if person else None,
    )  # fmt: skip
