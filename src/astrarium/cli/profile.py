"""`astrarium config profile`: a registry, a user and a place in it under one name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..config.client import PREFIXES
from ..config.home import Home
from ..config.profile import DEFAULT, PROFILE, Profile, check_name, drop_entry, put_entry, read_all
from ..errors import Invalid
from .option import AsJson, examples, new_app, print_json
from .screen import show_rows

APP = new_app()
ADD_EXAMPLES = examples(
    "astrarium config profile add prod --registry central --workspace my-team --environment production",
    "astrarium config profile add prod --registry central --organization my-team --workspace production",
    "astrarium config profile add here --registry local --default",
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the profile.")]


@APP.callback(epilog=ADD_EXAMPLES)
def profile() -> None:
    """Profiles: a registry, a user and a place in it under one name. One is the usual one; ASTRARIUM_PROFILE names another."""


@APP.command(epilog=ADD_EXAMPLES)
def add(
    name: Name,
    registry: Annotated[str, typer.Option("-r", "--registry", metavar="NAME", help="A registry; see `config registry add`.")],
    user: Annotated[
        str, typer.Option("-u", "--user", metavar="EMAIL", help="Who signs in there; not needed with an API key.")
    ] = "",
    workspace: Annotated[
        str, typer.Option("-w", "--workspace", metavar="SLUG|ID", help="The workspace; with --organization, the environment.")
    ] = "",
    environment: Annotated[str, typer.Option("-e", "--environment", metavar="SLUG|ID", help="The environment.")] = "",
    organization: Annotated[
        str, typer.Option("-o", "--organization", metavar="SLUG|ID", help="Older word for the workspace.")
    ] = "",
    usual: Annotated[bool, typer.Option("-d", "--default", help="Make it the usual one.")] = False,
    as_json: AsJson = False,
) -> int:
    """Add a profile, or change the one of that name. The server is not asked.

    With --organization given, --workspace means the environment, as it did when a workspace was called organization.
    """
    check_name(name, PROFILE)
    if organization:
        if workspace and environment:
            raise Invalid(
                "--organization, --workspace and --environment are one too many", code="usage", hint="leave --organization out"
            )
        workspace, environment = organization, workspace or environment
    home = Home()
    written = read_all(home, home.folder)
    written.url_of(registry)
    if not user:
        known = {one.user for one in written.profiles.values() if one.registry == registry and one.user}
        user = known.pop() if len(known) == 1 else ""
    made = Profile(registry, user, workspace, environment)
    fields = {"registry": registry, "user": user, "workspace": workspace, "environment": environment}
    put_entry(home, PROFILE, name, fields)
    first = not written.default
    if usual or first:
        put_entry(home, DEFAULT, "", {PROFILE: name})
    if as_json:
        print_json({"name": name, **fields, "default": usual or first or written.default == name})
    else:
        print(f"profile {name}: {told(made)}" + (", now the usual one" if usual or first else ""))
    return 0


@APP.command("list", epilog=examples("astrarium config profile list", "astrarium config profile list --json"))
def list_profiles(as_json: AsJson = False) -> int:
    """List the profiles that are known here; the active one is marked."""
    written = read_all(Home(), Path.cwd())
    active = next((name for prefix in PREFIXES if (name := os.environ.get(f"{prefix}PROFILE"))), written.default)
    rows = [
        (
            "*" if name == active else "",
            name,
            one.registry,
            one.user,
            one.workspace,
            one.environment,
            written.file_of(PROFILE, name),
        )
        for name, one in sorted(written.profiles.items())
    ]
    columns = ("active", "name", "registry", "user", "workspace", "environment", "file")
    if as_json:
        print_json([dict(zip(columns, (row[0] == "*", *row[1:]), strict=True)) for row in rows])
    else:
        show_rows(columns, rows, "no profiles")
    return 0


@APP.command(epilog=examples("astrarium config profile use prod"))
def use(name: Name, as_json: AsJson = False) -> int:
    """Make a profile the usual one."""
    home = Home()
    found = read_all(home, home.folder).profile_of(name)
    put_entry(home, DEFAULT, "", {PROFILE: name})
    if as_json:
        print_json({"name": name, "default": True})
    else:
        print(f"profile {name}: {told(found)}, now the usual one")
    return 0


@APP.command(epilog=examples("astrarium config profile remove prod"))
def remove(name: Name, as_json: AsJson = False) -> int:
    """Remove a profile. The sign-in stays; see `astrarium auth logout`."""
    home = Home()
    written = read_all(home, home.folder)
    written.profile_of(name)
    if written.file_of(PROFILE, name) != str(home.config_file):
        raise Invalid(f"the profile {name!r} stands in {written.file_of(PROFILE, name)}", hint="change that file")
    drop_entry(home, PROFILE, name)
    if written.default == name:
        drop_entry(home, DEFAULT)
    if as_json:
        print_json({"name": name})
    else:
        print(f"removed {name}" + ("; no profile is the usual one now" if written.default == name else ""))
    return 0


def told(profile: Profile) -> str:
    """A profile in few words."""
    place = f"{profile.workspace}/{profile.environment}".strip("/") or "no place"
    return f"{place} at {profile.registry}" + (f" as {profile.user}" if profile.user else "")
