"""Finding out what a build consists of: which tasks are made, and what the others need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from ...errors import Invalid
from ..registry.item import Item, StoredTask
from ..task.task import Task, tasks_in


class Found(msgspec.Struct, frozen=True):
    """A task as discovery met it. `needs` is None when nobody looked, because it is made."""

    task: Task[Any]
    complete: bool
    needs: tuple[Task[Any], ...] | None
    seen_at: str


async def discover(
    roots: Iterable[Task[Any]], known: Callable[[str], bool], at_once: int, *, all_below: bool = False
) -> dict[str, Found]:
    """The roots and all they need, each after what it needs; tasks that are `known` already are left out. What is made is not looked
    into, unless `all_below` is wanted. `at_once` targets are asked at a time. Raises `Invalid` for a circle, and whatever a
    `requires` raises."""
    found: dict[str, Found] = {}
    gate = asyncio.Semaphore(at_once)
    level = _distinct(roots, known, found)
    while level:
        for one in await asyncio.gather(*(_look(task, gate, all_below) for task in level)):
            found[str(one.task.id)] = one
        level = _distinct((need for task in level for need in found[str(task.id)].needs or ()), known, found)
    return _upstreams_first(found)


def _distinct(tasks: Iterable[Task[Any]], known: Callable[[str], bool], found: dict[str, Found]) -> list[Task[Any]]:
    fresh = {str(task.id): task for task in tasks}
    return [task for name, task in fresh.items() if name not in found and not known(name)]


async def _look(task: Task[Any], gate: asyncio.Semaphore, all_below: bool) -> Found:
    async with gate:
        now = _now()
        made = await task.complete_aio()
        needs = None if made and not all_below else tuple(tasks_in(task.requires()))
        return Found(task, made, needs, now)


def read_task(stored: StoredTask) -> Task[Any]:
    """The task of a registry's row. Raises `NotFound` where its class is not defined here, `Invalid` where it has changed."""
    task: Task[Any] = Task.from_body(stored.bodies[0])
    if str(task.id) != stored.task_id:
        raise Invalid(f"its class gives the stored fields the id {task.id}", hint="it has changed since")
    return task


def seen(task: Task[Any], complete: bool) -> Found:
    """A task whose target was looked for now, and nothing else."""
    return Found(task, complete, None, _now())


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _upstreams_first(found: dict[str, Found]) -> dict[str, Found]:
    """The same in an order in which nothing comes before what it needs."""
    placed: dict[str, Found] = {}
    open_: set[str] = set()
    for start in found:
        path = [(start, False)]
        while path:
            name, through = path.pop()
            if through:
                open_.discard(name)
                placed[name] = found[name]
                continue
            if name in placed:
                continue
            if name in open_:
                raise Invalid(
                    f"task {describe(found[name].task)} needs itself, directly or through others", hint="see its requires()"
                )
            open_.add(name)
            path.append((name, True))
            path.extend((str(need.id), False) for need in reversed(found[name].needs or ()) if _ahead(need, found, placed))
    return placed


def _ahead(task: Task[Any], found: dict[str, Found], placed: dict[str, Found]) -> bool:
    return str(task.id) in found and str(task.id) not in placed


def item_of(found: Found, known: Mapping[str, Found], *, expanded: bool = True) -> Item:
    """The task as a registry is told it; not `expanded`: without what it needs. A build has one instance of each task: of those that
    differ in what does not count, the one it met first, which is the one in `known`."""
    task = found.task
    needs = None
    if found.needs is not None and expanded:
        ids = dict.fromkeys(str(one.id) for one in found.needs)
        needs = [str(known[name].task.instance_hash) for name in ids]
    return Item(
        task_id=str(task.id),
        task_namespace=task.get_namespace(),
        task_name=task.get_name(),
        version=task.version,
        output_uri=task.target().uri,
        instance_hash=str(task.instance_hash),
        body=task.body,
        declared_upstreams=needs,
        observed_complete=found.complete,
        observed_at=found.seen_at,
    )


def describe(task: Task[Any]) -> str:
    """`report (8d856b66-…)`, with its namespace."""
    space = task.get_namespace()
    return f"{space + '.' if space else ''}{task.get_name()} ({task.id})"
