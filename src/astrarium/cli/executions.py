"""`astrarium executions`: who makes which task, and who did."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import Invalid
from .client import EnvironmentName, ProfileName, open_registry
from .option import AsJson, examples, new_app, print_json
from .screen import clock, show_rows

APP = new_app()
EXAMPLES = examples(
    "astrarium executions list --build 0190a0a0-0000-7000-8000-000000000001",
    "astrarium executions list --task 51e991c3-3baf-5088-b553-49bd7baeced2 --include-ended",
)
COLUMNS = ("id", "task", "executor", "where", "started", "ended", "outcome")


@APP.callback(epilog=EXAMPLES)
def executions() -> None:
    """Executions: who makes which task now, and how it ended for those before."""


@APP.command("list", epilog=EXAMPLES)
def list_executions(
    build: Annotated[str | None, typer.Option("-b", "--build", metavar="BUILD", help="Of the tasks of this build.")] = None,
    task: Annotated[str | None, typer.Option("-t", "--task", metavar="TASK", help="Of this task.")] = None,
    include_ended: Annotated[bool, typer.Option("--include-ended", help="Those that have ended too.")] = False,
    not_in_current_plan: Annotated[
        bool, typer.Option("--not-in-current-plan", help="Of a build: only those of plans that are not active any more.")
    ] = False,
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """List executions of a build or of a task."""
    if (build is None) == (task is None):
        raise Invalid("either --build or --task says whose executions are meant", code="usage")
    query = {"include_ended": include_ended, "not_in_current_plan": True if not_in_current_plan else None}
    with open_registry(profile, environment) as registry:
        found = registry.call("GET", f"/builds/{build}/executions" if build else f"/tasks/{task}/executions", query=query)
    if as_json:
        print_json(found)
        return 0
    rows = [
        (
            one["id"], one["task_id"], one.get("executor"), one.get("executor_ref"), clock(one["started_at"]), clock(one["ended_at"]),
            one.get("outcome") or one.get("claim_outcome") or "",
        )
        for one in found["executions"]
    ]  # fmt: skip
    show_rows(COLUMNS, rows, "no executions")
    return 0
