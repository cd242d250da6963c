"""`astrarium builds`: what a registry knows of builds, and how people end one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..sdk.registry.api import APIRegistry
from .asking import Ask, Columns, asks, call, get, table
from .option import examples, new_app
from .screen import show_rows, show_values

APP = new_app()
EXAMPLES = examples(
    "astrarium builds list --status running",
    "astrarium builds show 0190a0a0-0000-7000-8000-000000000001",
    "astrarium builds cancel 0190a0a0-0000-7000-8000-000000000001",
)
LIST_EXAMPLES = examples("astrarium builds list", "astrarium builds list --status failed --limit 5 --json")
COLUMNS: Columns = {
    "id": "id",
    "name": lambda one: one.get("name", ""),
    "status": "status",
    "last active": "last_active_at",
    "description": "description",
}
BuildId = Annotated[str, typer.Argument(metavar="BUILD", help="Id of the build.")]


@APP.callback(epilog=EXAMPLES)
def builds() -> None:
    """Builds of tasks, as the registry has them: list them, look at one, end one. docs/guide/sdk.md tells what they are."""


@asks(APP, "list", LIST_EXAMPLES)
def list_builds(
    status: Annotated[
        str | None, typer.Option("--status", metavar="STATUS", help="running, completed, failed, cancelled or exit_early.")
    ] = None,
    app: Annotated[str | None, typer.Option("--app", "--reactive-app", metavar="NAME", help="Only of this application.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=500, help="Most builds listed.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Where the last list ended.")] = None,
) -> Ask:
    """List builds, the last active first."""
    asked = get("/builds", status=status, reactive_app_name=app, limit=limit, cursor=cursor)
    return Ask(asked, table("builds", COLUMNS, "no builds"))


@asks(APP, "show", examples("astrarium builds show 0190a0a0-0000-7000-8000-000000000001"))
def show(build: BuildId) -> Ask:
    """Show a build, and how far its plan is."""

    def ask(registry: APIRegistry) -> Any:
        found = registry.call("GET", f"/builds/{build}")
        return {**found, "plans": registry.call("GET", f"/builds/{build}/plans")["plans"]}

    return Ask(ask, _show_build)


def _show_build(found: dict[str, Any]) -> None:
    active = next((plan for plan in found.pop("plans") if plan["is_active"]), None)
    told = {"plan": active["id"], "tasks": active["member_counts"]} if active else {}
    show_values({**found, **told})


@asks(APP, "frontier", examples("astrarium builds frontier 0190a0a0-0000-7000-8000-000000000001"))
def frontier(build: BuildId) -> Ask:
    """Show which tasks run and which could start now."""
    return Ask(get(f"/builds/{build}/frontier"), _show_frontier)


def _show_frontier(found: dict[str, Any]) -> None:
    kinds = (("running", "runs"), ("runnable", "could start"), ("discovery_jobs", "to be looked into"))
    rows = [
        (one["task_id"], one["body"].get("__name", ""), one["status"], word)
        for kind, word in kinds
        for one in found.get(kind, ())
    ]
    show_rows(
        ("task", "name", "status", "now"), rows, f"nothing runs and nothing could start: the build is {found['build_status']}"
    )


@asks(APP, "cancel", examples("astrarium builds cancel 0190a0a0-0000-7000-8000-000000000001"))
def cancel(build: BuildId) -> Ask:
    """Cancel a build.

    Its builder stops with the next task it asks for, and what it had claimed is free for others.
    """
    return _end(build, "cancel")


@asks(APP, "complete", examples("astrarium builds complete 0190a0a0-0000-7000-8000-000000000001 --force"))
def complete(
    build: BuildId,
    force: Annotated[bool, typer.Option("--force", help="Also while tasks of its plan are not complete.")] = False,
) -> Ask:
    """Say that a build is complete, where its builder could not."""
    return _end(build, "complete", {"force": force})


@asks(APP, "fail", examples('astrarium builds fail 0190a0a0-0000-7000-8000-000000000001 -m "the machine is gone"'))
def fail(build: BuildId, message: Annotated[str | None, typer.Option("-m", "--message", help="Why.")] = None) -> Ask:
    """Say that a build failed, where its builder could not."""
    return _end(build, "fail", {"error_message": message})


def _end(build: str, verb: str, body: Any = None) -> Ask:
    return Ask(call("POST", f"/builds/{build}/{verb}", body), lambda found: print(f"build {found['id']} is {found['status']}"))
