"""`astrarium concurrency-limits`: how many tasks with a key may run at a time, whoever builds them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import NotFound
from ..sdk.registry.api import APIRegistry
from .client import EnvironmentName, ProfileName, open_registry
from .option import AsJson, examples, new_app, print_json
from .screen import clock, show_rows

APP = new_app()
EXAMPLES = examples(
    "astrarium concurrency-limits set gpu 2",
    "astrarium concurrency-limits list --holders",
    "astrarium concurrency-limits holders gpu",
)
HOLDER_COLUMNS = ("task", "name", "build", "started")
Key = Annotated[str, typer.Argument(metavar="KEY", help="The key tasks name with `limit_keys`.")]


@APP.callback(epilog=EXAMPLES)
def concurrency_limits() -> None:
    """Limits: how many tasks that name a key may run at a time in the environment, whoever builds them."""


@APP.command("list", epilog=examples("astrarium concurrency-limits list", "astrarium concurrency-limits list --holders --json"))
def list_limits(
    holders: Annotated[bool, typer.Option("--holders", help="With the tasks that run.")] = False,
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """List the limits, by key."""
    with open_registry(profile, environment) as registry:
        found = _all(registry, holders)
    if as_json:
        print_json({"limits": found})
        return 0
    show_rows(("key", "limit", "in use"), [(one["key"], one["max_concurrent"], one["in_use"]) for one in found], "no limits")
    if holders:
        show_rows(
            ("key", *HOLDER_COLUMNS), [(one["key"], *row) for one in found for row in _rows(one)], "nothing runs under a limit"
        )
    return 0


def _all(registry: APIRegistry, holders: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = registry.call("GET", "/concurrency-limits", query={"include_holders": holders})["limits"]
    return found


def _rows(limit: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(one["task_id"], one["task_name"], one["build_id"], clock(one["started_at"])) for one in limit["holders"] or ()]


@APP.command("set", epilog=examples("astrarium concurrency-limits set gpu 2", "astrarium concurrency-limits set gpu 0"))
def set_limit(
    key: Key,
    limit: Annotated[int, typer.Argument(metavar="NUMBER", min=0, help="At most so many; 0: none may start.")],
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """Set how many may run at a time.

    What runs already goes on.
    """
    with open_registry(profile, environment) as registry:
        found = registry.call("PUT", f"/concurrency-limits/{key}", {"max_concurrent": limit})
    if as_json:
        print_json(found)
    else:
        print(f"{found['key']}: at most {found['max_concurrent']} at a time")
    return 0


@APP.command(epilog=examples("astrarium concurrency-limits delete gpu"))
def delete(key: Key, profile: ProfileName = None, environment: EnvironmentName = None, as_json: AsJson = False) -> int:
    """Take a limit away: tasks with the key run without one."""
    with open_registry(profile, environment) as registry:
        registry.call("DELETE", f"/concurrency-limits/{key}")
    if as_json:
        print_json({"key": key})
    else:
        print(f"{key}: no limit")
    return 0


@APP.command(epilog=examples("astrarium concurrency-limits holders gpu"))
def holders(
    key: Key,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=10_000, help="Most tasks listed.")] = 100,
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """List the tasks that run under a limit."""
    with open_registry(profile, environment) as registry:
        found = next((one for one in _all(registry, True) if one["key"] == key), None)
    if found is None:
        raise NotFound(f"there is no limit {key!r}", hint="`astrarium concurrency-limits list` shows them")
    if as_json:
        print_json({**found, "holders": (found["holders"] or [])[:limit]})
    else:
        show_rows(HOLDER_COLUMNS, _rows(found)[:limit], "nothing runs under it")
    return 0
