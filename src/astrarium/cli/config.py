"""`astrarium config`: what commands, the SDK and the server work by, and where each value came from; registries and profiles."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..config import CLIENT_MEANINGS, MEANINGS, load_config
from ..errors import AstrariumError, Invalid
from .client import ProfileName, RegistryName, WorkspaceName, open_session
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, examples, new_app, print_json, settings_of
from .profile import APP as PROFILE_APP
from .registry import APP as REGISTRY_APP
from .root import CONFIG_APP as ROOT_APP
from .screen import at_terminal, show_rows

APP = new_app()
LIST = new_app()
APP.add_typer(REGISTRY_APP, name="registry")
APP.add_typer(PROFILE_APP, name="profile")
APP.add_typer(ROOT_APP, name="target-roots")
APP.add_typer(LIST, name="list")
SHOW_EXAMPLES = examples(
    "astrarium config show",
    "astrarium config show workspace",
    "ASTRARIUM_PORT=9000 astrarium config show port",
    "astrarium config show --json",
)
EXAMPLES = examples(
    "astrarium config show",
    "astrarium config registry add central --url https://astrarium.example.com",
    "astrarium config profile add prod --registry central --organization my-org --workspace production",
    "astrarium config target-roots sync",
    "astrarium config list workspaces",
)
COLUMNS = ("setting", "value", "source")


@APP.callback(epilog=EXAMPLES, invoke_without_command=True)
def config(context: typer.Context) -> int:
    """Show what commands and the server work by, and keep registries and profiles.

    Without a command: `show`.
    """
    return 0 if context.invoked_subcommand else show()


@APP.command(epilog=SHOW_EXAMPLES)
def show(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only this setting.")] = "",
    as_json: AsJson = False,
    profile: ProfileName = None,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Show every setting: its name, its value and where that comes from. First what a client works by, then what a server does.

    docs/guide/clients.md and docs/reference/settings.md say what they mean.
    """
    if name and name not in MEANINGS and name not in CLIENT_MEANINGS:
        raise Invalid(f"there is no setting `{name}`", hint=f"settings: {', '.join([*CLIENT_MEANINGS, *MEANINGS])}", code="usage")
    flags = {"data_dir": data_dir, "dags_dir": dags_dir, "database_url": database_url}
    of_server = _server_rows(name, flags) if name not in CLIENT_MEANINGS else []
    try:
        of_client = _client_rows(name, profile) if name not in MEANINGS else []
        wrong: AstrariumError | None = None
    except AstrariumError as error:
        of_client, wrong = [], error
    if as_json:
        print_json(
            [
                *(_item("client", row, CLIENT_MEANINGS) for row in of_client),
                *(_item("server", row, MEANINGS) for row in of_server),
            ]
        )
    else:
        for title, rows in (("As a client", of_client), ("As a server", of_server)):
            if rows:
                print(f"{title}\n" if at_terminal() else "", end="")
                show_rows(COLUMNS, rows, "")
    if wrong is not None:
        raise wrong
    return 0


_Row = tuple[str, Any, str]


def _server_rows(name: str, flags: dict[str, Any]) -> list[_Row]:
    settings = settings_of(**flags)
    return [(key, _shown(settings.shown(key)), settings.source_of(key)) for key in MEANINGS if name in ("", key)]


def _client_rows(name: str, profile: str | None) -> list[_Row]:
    config = load_config(profile=profile)
    return [(key, _shown(config.shown(key)), config.source_of(key)) for key in CLIENT_MEANINGS if name in ("", key)]


def _item(of: str, row: _Row, meanings: dict[str, str]) -> dict[str, Any]:
    return {"name": row[0], "value": row[1], "source": row[2], "meaning": meanings[row[0]], "of": of}


def _shown(value: Any) -> Any:
    if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
        return ", ".join(f"{name}={one}" for name, one in value.items())
    return value if isinstance(value, (int, float, str)) else str(value)


@LIST.callback()
def list_() -> None:
    """List what there is at the registry: your workspaces, and the environments of one."""


@LIST.command(epilog=examples("astrarium config list workspaces", "astrarium config list workspaces --json"))
def workspaces(profile: ProfileName = None, registry: RegistryName = None, as_json: AsJson = False) -> int:
    """List the workspaces you are a member of."""
    with open_session(profile, registry) as session:
        found = session.me().workspaces
    if as_json:
        print_json(found)
    else:
        show_rows(("slug", "name", "role", "id"), [(one.slug, one.name, one.role, one.id) for one in found], "no workspaces")
    return 0


@LIST.command(epilog=examples("astrarium config list environments", "astrarium config list environments --workspace my-team"))
def environments(
    profile: ProfileName = None, registry: RegistryName = None, workspace: WorkspaceName = None, as_json: AsJson = False
) -> int:
    """List the environments of the workspace you work in, or of another one."""
    with open_session(profile, registry, workspace=workspace) as session:
        found = session.environments(session.workspace_id())
    if as_json:
        print_json(found)
    else:
        show_rows(("slug", "name", "id"), [(one.slug, one.name, one.id) for one in found], "no environments")
    return 0
