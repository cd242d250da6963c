"""`astrarium builds`: what a registry knows of builds, and how people end one."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from .client import EnvironmentName, ProfileName, open_registry
from .option import AsJson, examples, new_app, print_json
from .screen import clock, show_rows, show_values

APP = new_app()
EXAMPLES = examples(
    "astrarium builds list --status running",
    "astrarium builds show 0190a0a0-0000-7000-8000-000000000001",
    "astrarium builds cancel 0190a0a0-0000-7000-8000-000000000001",
)
LIST_EXAMPLES = examples("astrarium builds list", "astrarium builds list --status failed --limit 5 --json")
COLUMNS = ("id", "name", "status", "last active", "description")
BuildId = Annotated[str, typer.Argument(metavar="BUILD", help="Id of the build.")]


@APP.callback(epilog=EXAMPLES)
def builds() -> None:
    """Builds of tasks, as the registry has them: list them, look at one, end one. docs/guide/sdk.md tells what they are."""


@APP.command("list", epilog=LIST_EXAMPLES)
def list_builds(
    status: Annotated[
        str | None, typer.Option("--status", metavar="STATUS", help="running, completed, failed, cancelled or exit_early.")
    ] = None,
    app: Annotated[str | None, typer.Option("--app", "--reactive-app", metavar="NAME", help="Only of this application.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=500, help="Most builds listed.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Where the last list ended.")] = None,
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """List builds, the last active first."""
    query = {"status": status, "reactive_app_name": app, "limit": limit, "cursor": cursor}
    with open_registry(profile, environment) as registry:
        found = registry.call("GET", "/builds", query=query)
    if as_json:
        print_json(found)
        return 0
    rows = [
        (one["id"], one.get("name", ""), one["status"], clock(one.get("last_active_at")), one.get("description"))
        for one in found["builds"]
    ]
    show_rows(COLUMNS, rows, "no builds")
    tell_more(found.get("next_cursor"))
    return 0


def tell_more(cursor: str | None) -> None:
    """Say how a list goes on, where the rows themselves are not disturbed."""
    if cursor:
        print(f"there are more: --cursor {cursor}", file=sys.stderr)


@APP.command(epilog=examples("astrarium builds show 0190a0a0-0000-7000-8000-000000000001"))
def show(build: BuildId, profile: ProfileName = None, environment: EnvironmentName = None, as_json: AsJson = False) -> int:
    """Show a build, and how far its plan is."""
    with open_registry(profile, environment) as registry:
        found = registry.call("GET", f"/builds/{build}")
        plans = registry.call("GET", f"/builds/{build}/plans")["plans"]
    if as_json:
        print_json({**found, "plans": plans})
        return 0
    active = next((plan for plan in plans if plan["is_active"]), None)
    told = {"plan": active["id"], "tasks": active["member_counts"]} if active else {}
    show_values({**found, **told})
    return 0


@APP.command(epilog=examples("astrarium builds frontier 0190a0a0-0000-7000-8000-000000000001"))
def frontier(build: BuildId, profile: ProfileName = None, environment: EnvironmentName = None, as_json: AsJson = False) -> int:
    """Show which tasks run and which could start now."""
    with open_registry(profile, environment) as registry:
        found = registry.call("GET", f"/builds/{build}/frontier")
    if as_json:
        print_json(found)
        return 0
    kinds = (("running", "runs"), ("runnable", "could start"), ("discovery_jobs", "to be looked into"))
    rows = [
        (one["task_id"], one["body"].get("__name", ""), one["status"], word)
        for kind, word in kinds
        for one in found.get(kind, ())
    ]
    show_rows(
        ("task", "name", "status", "now"), rows, f"nothing runs and nothing could start: the build is {found['build_status']}"
    )
    return 0


@APP.command(epilog=examples("astrarium builds cancel 0190a0a0-0000-7000-8000-000000000001"))
def cancel(build: BuildId, profile: ProfileName = None, environment: EnvironmentName = None, as_json: AsJson = False) -> int:
    """Cancel a build.

    Its builder stops with the next task it asks for, and what it had claimed is free for others.
    """
    return _end(build, "cancel", None, profile, environment, as_json)


@APP.command(epilog=examples("astrarium builds complete 0190a0a0-0000-7000-8000-000000000001 --force"))
def complete(
    build: BuildId,
    force: Annotated[bool, typer.Option("--force", help="Also while tasks of its plan are not complete.")] = False,
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """Say that a build is complete, where its builder could not."""
    return _end(build, "complete", {"force": force}, profile, environment, as_json)


@APP.command(epilog=examples('astrarium builds fail 0190a0a0-0000-7000-8000-000000000001 -m "the machine is gone"'))
def fail(
    build: BuildId,
    message: Annotated[str | None, typer.Option("-m", "--message", help="Why.")] = None,
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """Say that a build failed, where its builder could not."""
    return _end(build, "fail", {"error_message": message}, profile, environment, as_json)


def _end(build: str, verb: str, body: Any, profile: str | None, environment: str | None, as_json: bool) -> int:
    with open_registry(profile, environment) as registry:
        found = registry.call("POST", f"/builds/{build}/{verb}", body)
    if as_json:
        print_json(found)
    else:
        print(f"build {found['id']} is {found['status']}")
    return 0
