"""`astrarium plans`: which tasks a build consists of, by the code and the settings it is done with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..sdk.registry.api import APIRegistry
from .asking import Ask, Columns, asks, get, table
from .option import examples, new_app
from .screen import show_values

APP = new_app()
EXAMPLES = examples(
    "astrarium plans list --build 0190a0a0-0000-7000-8000-000000000001",
    "astrarium plans show 0190a0a0-0000-7000-8000-000000000002",
)
COLUMNS: Columns = {
    "id": "id",
    "generation": "generation",
    "state": lambda one: "active" if one["is_active"] else "",
    "tasks": "member_count",
    "sealed": "sealed_at",
}


@APP.callback(epilog=EXAMPLES)
def plans() -> None:
    """Plans: the tasks of a build, for one state of the code and one set of settings. A build has one active plan."""


@asks(APP, "list", examples("astrarium plans list --build 0190a0a0-0000-7000-8000-000000000001"))
def list_plans(build: Annotated[str, typer.Option("-b", "--build", metavar="BUILD", help="Id of the build.")]) -> Ask:
    """List the plans of a build, newest first."""
    return Ask(get(f"/builds/{build}/plans"), table("plans", COLUMNS, "no plans"))


@asks(APP, "show", examples("astrarium plans show 0190a0a0-0000-7000-8000-000000000002"))
def show(plan: Annotated[str, typer.Argument(metavar="PLAN", help="Id of the plan.")]) -> Ask:
    """Show a plan and how far it is."""

    def ask(registry: APIRegistry) -> Any:
        found = registry.call("GET", f"/plans/{plan}")
        return {**found, "settings": registry.call("GET", f"/settings/{found['settings_hash']}")["body"]}

    return Ask(ask, _show_plan)


def _show_plan(found: dict[str, Any]) -> None:
    deployment, settings = found.pop("deployment", None), found.pop("settings")
    show_values({**found, "code_id": deployment["code_id"] if deployment else None, "settings": settings})
