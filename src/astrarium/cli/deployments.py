"""`astrarium deployments`: the states of code that builds are done with."""

from __future__ import annotations

from typing import Annotated

import typer

from .client import EnvironmentName, ProfileName, open_registry
from .option import AsJson, examples, new_app, print_json
from .screen import clock, show_rows, show_values

APP = new_app()
EXAMPLES = examples("astrarium deployments list --kind local", "astrarium deployments show 0190a0a0-0000-7000-8000-000000000003")


@APP.callback(epilog=EXAMPLES)
def deployments() -> None:
    """Deployments: the states of code that builds are done with, as builders told them."""


@APP.command("list", epilog=examples("astrarium deployments list", "astrarium deployments list --current --json"))
def list_deployments(
    app: Annotated[str | None, typer.Option("--app", metavar="NAME", help="Only of this application.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help="local or modal.")] = None,
    current: Annotated[bool, typer.Option("--current", help="Only those in use.")] = False,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=500, help="Most deployments listed.")] = 100,
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """List deployments, newest first."""
    query = {"app_name": app, "kind": kind, "current": True if current else None, "limit": limit}
    with open_registry(profile, environment) as registry:
        found = registry.call("GET", "/deployments", query=query)
    if as_json:
        print_json(found)
        return 0
    rows = [
        (one["id"], one["kind"], one["app_name"], one["code_id"], one["generation"], clock(one["deployed_at"]))
        for one in found["deployments"]
    ]
    show_rows(("id", "kind", "app", "code", "generation", "deployed"), rows, "no deployments")
    return 0


@APP.command(epilog=examples("astrarium deployments show 0190a0a0-0000-7000-8000-000000000003"))
def show(
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id of the deployment.")],
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """Show one deployment."""
    with open_registry(profile, environment) as registry:
        found = registry.call("GET", f"/deployments/{deployment}")
    if as_json:
        print_json(found)
    else:
        show_values(found)
    return 0
