"""`astrarium deployments`: the states of code that builds are done with."""

from __future__ import annotations

from typing import Annotated

import typer

from .asking import Ask, asks, get, table
from .option import examples, new_app

APP = new_app()
EXAMPLES = examples("astrarium deployments list --kind local", "astrarium deployments show 0190a0a0-0000-7000-8000-000000000003")
COLUMNS = {
    "id": "id",
    "kind": "kind",
    "app": "app_name",
    "code": "code_id",
    "generation": "generation",
    "deployed": "deployed_at",
}


@APP.callback(epilog=EXAMPLES)
def deployments() -> None:
    """Deployments: the states of code that builds are done with, as builders told them."""


@asks(APP, "list", examples("astrarium deployments list", "astrarium deployments list --current --json"))
def list_deployments(
    app: Annotated[str | None, typer.Option("--app", metavar="NAME", help="Only of this application.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help="local or modal.")] = None,
    current: Annotated[bool, typer.Option("--current", help="Only those in use.")] = False,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=500, help="Most deployments listed.")] = 100,
) -> Ask:
    """List deployments, newest first."""
    asked = get("/deployments", app_name=app, kind=kind, current=True if current else None, limit=limit)
    return Ask(asked, table("deployments", COLUMNS, "no deployments"))


@asks(APP, "show", examples("astrarium deployments show 0190a0a0-0000-7000-8000-000000000003"))
def show(deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id of the deployment.")]) -> Ask:
    """Show one deployment."""
    return Ask(get(f"/deployments/{deployment}"))
