"""`astrarium plans`: which tasks a build consists of, by the code and the settings it is done with."""

from __future__ import annotations

from typing import Annotated

import typer

from .client import EnvironmentName, ProfileName, open_registry
from .option import AsJson, examples, new_app, print_json
from .screen import clock, show_rows, show_values

APP = new_app()
EXAMPLES = examples(
    "astrarium plans list --build 0190a0a0-0000-7000-8000-000000000001",
    "astrarium plans show 0190a0a0-0000-7000-8000-000000000002",
)


@APP.callback(epilog=EXAMPLES)
def plans() -> None:
    """Plans: the tasks of a build, for one state of the code and one set of settings. A build has one active plan."""


@APP.command("list", epilog=examples("astrarium plans list --build 0190a0a0-0000-7000-8000-000000000001"))
def list_plans(
    build: Annotated[str, typer.Option("-b", "--build", metavar="BUILD", help="Id of the build.")],
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """List the plans of a build, newest first."""
    with open_registry(profile, environment) as registry:
        found = registry.call("GET", f"/builds/{build}/plans")
    if as_json:
        print_json(found)
        return 0
    rows = [
        (one["id"], one["generation"], "active" if one["is_active"] else "", one["member_count"], clock(one["sealed_at"]))
        for one in found["plans"]
    ]
    show_rows(("id", "generation", "state", "tasks", "sealed"), rows, "no plans")
    return 0


@APP.command(epilog=examples("astrarium plans show 0190a0a0-0000-7000-8000-000000000002"))
def show(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Id of the plan.")],
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """Show a plan and how far it is."""
    with open_registry(profile, environment) as registry:
        found = registry.call("GET", f"/plans/{plan}")
        settings = registry.call("GET", f"/settings/{found['settings_hash']}")["body"]
    if as_json:
        print_json({**found, "settings": settings})
        return 0
    deployment = found.pop("deployment", None)
    show_values({**found, "code_id": deployment["code_id"] if deployment else None, "settings": settings})
    return 0
