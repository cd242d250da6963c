"""`astrarium concurrency-limits`: how many tasks with a key may run at a time, whoever builds them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import NotFound
from ..sdk.registry.api import APIRegistry
from .asking import Ask, Call, asks, call, get, rows_of, table
from .option import examples, new_app
from .screen import show_rows

APP = new_app()
EXAMPLES = examples(
    "astrarium concurrency-limits set gpu 2",
    "astrarium concurrency-limits list --holders",
    "astrarium concurrency-limits holders gpu",
)
COLUMNS = {"key": "key", "limit": "max_concurrent", "in use": "in_use"}
HOLDER_COLUMNS = {"task": "task_id", "name": "task_name", "build": "build_id", "started": "started_at"}
Key = Annotated[str, typer.Argument(metavar="KEY", help="The key tasks name with `limit_keys`.")]


@APP.callback(epilog=EXAMPLES)
def concurrency_limits() -> None:
    """Limits: how many tasks that name a key may run at a time in the environment, whoever builds them."""


@asks(APP, "list", examples("astrarium concurrency-limits list", "astrarium concurrency-limits list --holders --json"))
def list_limits(holders: Annotated[bool, typer.Option("--holders", help="With the tasks that run.")] = False) -> Ask:
    """List the limits, by key."""
    show_limits = table("limits", COLUMNS, "no limits")

    def show(found: Any) -> None:
        show_limits(found)
        if holders:
            rows = [(one["key"], *row) for one in found["limits"] for row in _held(one)]
            show_rows(("key", *HOLDER_COLUMNS), rows, "nothing runs under a limit")

    return Ask(_limits(holders), show)


def _limits(holders: bool) -> Call:
    return get("/concurrency-limits", include_holders=holders)


def _held(limit: dict[str, Any]) -> list[tuple[Any, ...]]:
    return rows_of(limit["holders"] or (), HOLDER_COLUMNS)


@asks(APP, "set", examples("astrarium concurrency-limits set gpu 2", "astrarium concurrency-limits set gpu 0"))
def set_limit(
    key: Key, limit: Annotated[int, typer.Argument(metavar="NUMBER", min=0, help="At most so many; 0: none may start.")]
) -> Ask:
    """Set how many may run at a time.

    What runs already goes on.
    """
    asked = call("PUT", f"/concurrency-limits/{key}", {"max_concurrent": limit})
    return Ask(asked, lambda found: print(f"{found['key']}: at most {found['max_concurrent']} at a time"))


@asks(APP, "delete", examples("astrarium concurrency-limits delete gpu"))
def delete(key: Key) -> Ask:
    """Take a limit away: tasks with the key run without one."""

    def ask(registry: APIRegistry) -> Any:
        registry.call("DELETE", f"/concurrency-limits/{key}")
        return {"key": key}

    return Ask(ask, lambda found: print(f"{key}: no limit"))


@asks(APP, "holders", examples("astrarium concurrency-limits holders gpu"))
def holders(
    key: Key, limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=10_000, help="Most tasks listed.")] = 100
) -> Ask:
    """List the tasks that run under a limit."""

    def ask(registry: APIRegistry) -> Any:
        found = next((one for one in _limits(True)(registry)["limits"] if one["key"] == key), None)
        if found is None:
            raise NotFound(f"there is no limit {key!r}", hint="`astrarium concurrency-limits list` shows them")
        return {**found, "holders": (found["holders"] or [])[:limit]}

    return Ask(ask, table("holders", HOLDER_COLUMNS, "nothing runs under it"))
