"""`astrarium executions`: who makes which task, and who did."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import Invalid
from .asking import Ask, Columns, asks, get, table
from .option import examples, new_app

APP = new_app()
EXAMPLES = examples(
    "astrarium executions list --build 0190a0a0-0000-7000-8000-000000000001",
    "astrarium executions list --task 51e991c3-3baf-5088-b553-49bd7baeced2 --include-ended",
)
COLUMNS: Columns = {
    "id": "id",
    "task": "task_id",
    "executor": "executor",
    "where": "executor_ref",
    "started": "started_at",
    "ended": "ended_at",
    "outcome": lambda one: one.get("outcome") or one.get("claim_outcome") or "",
}


@APP.callback(epilog=EXAMPLES)
def executions() -> None:
    """Executions: who makes which task now, and how it ended for those before."""


@asks(APP, "list", EXAMPLES)
def list_executions(
    build: Annotated[str | None, typer.Option("-b", "--build", metavar="BUILD", help="Of the tasks of this build.")] = None,
    task: Annotated[str | None, typer.Option("-t", "--task", metavar="TASK", help="Of this task.")] = None,
    include_ended: Annotated[bool, typer.Option("--include-ended", help="Those that have ended too.")] = False,
    not_in_current_plan: Annotated[
        bool, typer.Option("--not-in-current-plan", help="Of a build: only those of plans that are not active any more.")
    ] = False,
) -> Ask:
    """List executions of a build or of a task."""
    if (build is None) == (task is None):
        raise Invalid("either --build or --task says whose executions are meant", code="usage")
    path = f"/builds/{build}/executions" if build else f"/tasks/{task}/executions"
    asked = get(path, include_ended=include_ended, not_in_current_plan=True if not_in_current_plan else None)
    return Ask(asked, table("executions", COLUMNS, "no executions"))
