"""`astrarium environment`: the environments of a workspace at a server, and their target roots."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
import typer

from ..sdk.session import Environment
from ..sdk.session.place import choose_environment
from .client import Force, ProfileName, RegistryName, WorkspaceName, confirm, open_session
from .option import AsJson, examples, new_app, print_json
from .root import SERVER_APP, pairs
from .screen import show_rows

APP = new_app()
APP.add_typer(SERVER_APP, name="target-roots")
EXAMPLES = examples(
    "astrarium environment list",
    "astrarium environment create Production --target-root default=s3://bucket/prod",
    "astrarium environment target-roots list --environment production",
)
CREATE_EXAMPLES = examples(
    "astrarium environment create Production",
    "astrarium environment create Staging --slug stage --target-root default=s3://bucket/stage",
)
PATH = "/api/v1/ui/workspaces/{}/environments"


@APP.callback(epilog=EXAMPLES)
def environment() -> None:
    """Environments of a workspace: list, make and delete them, and say where their results lie."""


@APP.command("list", epilog=examples("astrarium environment list", "astrarium environment list --workspace my-team --json"))
def list_environments(
    workspace: WorkspaceName = None, profile: ProfileName = None, registry: RegistryName = None, as_json: AsJson = False
) -> int:
    """List the environments of the workspace you work in, or of another one."""
    with open_session(profile, registry, workspace=workspace) as session:
        found = session.environments(session.workspace_id())
    if as_json:
        print_json(found)
    else:
        columns = ("slug", "name", "description", "id")
        show_rows(columns, [(one.slug, one.name, one.description or "", one.id) for one in found], "no environments")
    return 0


@APP.command(epilog=CREATE_EXAMPLES)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")],
    slug: Annotated[str, typer.Option("-s", "--slug", help="What programs call it; else made of the name.")] = "",
    description: Annotated[str, typer.Option("-d", "--description", help="What it is for.")] = "",
    target_root: Annotated[
        list[str] | None, typer.Option("-t", "--target-root", metavar="NAME=URI", help="Where results lie; may be repeated.")
    ] = None,
    workspace: WorkspaceName = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> int:
    """Make an environment; needs the role admin in the workspace."""
    roots = pairs(target_root or [])
    body = {"name": name, "slug": slug or re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")}
    with open_session(profile, workspace=workspace) as session:
        workspace_id = session.workspace_id()
        who = f"workspace:{workspace_id}"
        path = PATH.format(workspace_id)
        made = msgspec.convert(
            session.call("POST", path, body=body | ({"description": description} if description else {}), as_who=who), Environment
        )
        for root, uri in roots.items():
            session.call("POST", f"{path}/{made.id}/target-roots", body={"name": root, "uri_prefix": uri}, as_who=who)
        session.environments(workspace_id)
    if as_json:
        print_json({**msgspec.to_builtins(made), "target_roots": roots})
    else:
        print(f"environment {made.slug}: {made.id}")
        for root, uri in roots.items():
            print(f"target root {root}: {uri}")
    return 0


@APP.command(epilog=examples("astrarium environment delete staging", "astrarium environment delete staging --force"))
def delete(
    name: Annotated[str, typer.Argument(metavar="SLUG|ID", help="Which one.")],
    force: Force = False,
    workspace: WorkspaceName = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> int:
    """Delete an environment with its API keys and target roots; needs the role admin. The last one of a workspace stays."""
    with open_session(profile, workspace=workspace) as session:
        workspace_id = session.workspace_id()
        found = choose_environment(session.environments(workspace_id), name)
        confirm(f"Delete the environment {found.name} ({found.slug}) with its API keys?", force)
        session.call("DELETE", f"{PATH.format(workspace_id)}/{found.id}", as_who=f"workspace:{workspace_id}")
        session.environments(workspace_id)
    if as_json:
        print_json(found)
    else:
        print(f"deleted {found.slug}")
    return 0
