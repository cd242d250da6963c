"""Target roots: `astrarium config target-roots` (what is used here), `astrarium environment target-roots` (what the server has)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from ..config import load_config
from ..errors import Invalid, NotFound
from ..sdk.session import Environment, Root, Session, sync_roots
from ..sdk.session.place import choose_environment
from ..sdk.session.root import keep_roots
from .client import EnvironmentName, Force, ProfileName, RegistryName, WorkspaceName, confirm, open_session
from .option import AsJson, examples, new_app, print_json
from .screen import show_rows

CONFIG_APP = new_app()
SERVER_APP = new_app()
SYNC_EXAMPLES = examples("astrarium config target-roots sync", "astrarium config target-roots sync --profile prod")
LIST_EXAMPLES = examples("astrarium config target-roots list", "astrarium config target-roots list --json")
SET_EXAMPLES = examples(
    "astrarium environment target-roots set default=s3://bucket/prod archive=/mnt/archive",
    """astrarium environment target-roots set --from-json '{"default": "s3://bucket/prod"}' --force""",
)
EXAMPLES = examples(
    "astrarium environment target-roots list",
    "astrarium environment target-roots add data s3://bucket/data",
    "astrarium environment target-roots remove data",
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the target root.")]


@CONFIG_APP.callback(epilog=SYNC_EXAMPLES)
def config_roots() -> None:
    """Where results of tasks lie, as builds here take it: what the server said last, unless a variable says otherwise."""


@CONFIG_APP.command(epilog=SYNC_EXAMPLES)
def sync(
    profile: ProfileName = None, registry: RegistryName = None, workspace: WorkspaceName = None,
    environment: EnvironmentName = None, as_json: AsJson = False,
) -> int:  # fmt: skip
    """Take over the server's target roots for builds and for reading outputs without it."""
    with open_session(profile, registry, workspace=workspace, environment=environment) as session:
        roots = sync_roots(session)
    _show(roots, str(session.home.roots_file), as_json)
    return 0


@CONFIG_APP.command("list", epilog=LIST_EXAMPLES)
def list_used(profile: ProfileName = None, registry: RegistryName = None, as_json: AsJson = False) -> int:
    """List the target roots builds use here, and where they come from. The server is not asked."""
    config = load_config(profile=profile, registry=registry)
    _show(config.target_roots, config.source_of("target_roots"), as_json)
    return 0


def _show(roots: dict[str, str], source: str, as_json: bool) -> None:
    if as_json:
        print_json({"target_roots": roots, "source": source})
    else:
        show_rows(("name", "uri", "source"), [(name, uri, source) for name, uri in sorted(roots.items())], "no target roots")


@SERVER_APP.callback(epilog=EXAMPLES)
def server_roots() -> None:
    """Target roots of an environment at the server; changing them needs the role admin there."""


@SERVER_APP.command("list", epilog=examples("astrarium environment target-roots list --environment production"))
def list_roots(
    environment: EnvironmentName = None, workspace: WorkspaceName = None, profile: ProfileName = None, as_json: AsJson = False
) -> int:
    """List an environment's target roots."""
    with open_session(profile, workspace=workspace, environment=environment) as session:
        found = Roots(session).all()
    if as_json:
        print_json(found)
    else:
        show_rows(("name", "uri", "id"), [(one.name, one.uri_prefix, one.id) for one in found], "no target roots")
    return 0


@SERVER_APP.command(epilog=examples("astrarium environment target-roots add data s3://bucket/data"))
def add(
    name: Name,
    uri: Annotated[str, typer.Argument(metavar="URI", help="Where it lies, e.g. s3://bucket/data or /mnt/data.")],
    environment: EnvironmentName = None,
    workspace: WorkspaceName = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> int:
    """Add a target root."""
    with open_session(profile, workspace=workspace, environment=environment) as session:
        roots = Roots(session)
        roots.add(name, uri)
        _told(roots.remember(), as_json)
    return 0


@SERVER_APP.command(epilog=examples("astrarium environment target-roots remove data --force"))
def remove(
    name: Name, force: Force = False, environment: EnvironmentName = None, workspace: WorkspaceName = None,
    profile: ProfileName = None, as_json: AsJson = False,
) -> int:  # fmt: skip
    """Remove a target root. What lies there stays; tasks of other builds do not find it any more."""
    with open_session(profile, workspace=workspace, environment=environment) as session:
        roots = Roots(session)
        found = next((one for one in roots.all() if one.name == name), None)
        if found is None:
            raise NotFound(f"there is no target root {name!r}", hint="`astrarium environment target-roots list` shows them")
        confirm(f"Remove the target root {name} ({found.uri_prefix}) of {roots.environment.slug}?", force)
        roots.remove(found)
        _told(roots.remember(), as_json)
    return 0


@SERVER_APP.command("set", epilog=SET_EXAMPLES)
def set_roots(
    roots: Annotated[list[str] | None, typer.Argument(metavar="[NAME=URI]...", help="All there shall be.")] = None,
    document: Annotated[str, typer.Option("-j", "--from-json", metavar="JSON", help="The same as an object.")] = "",
    force: Force = False,
    environment: EnvironmentName = None,
    workspace: WorkspaceName = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> int:
    """Make an environment's target roots those that are given: adds, changes and removes what differs."""
    if bool(roots) == bool(document):
        raise Invalid("give NAME=URI, or --from-json", code="usage")
    wanted = _from_json(document) if document else pairs(roots or [])
    with open_session(profile, workspace=workspace, environment=environment) as session:
        there = Roots(session)
        known = {one.name: one for one in there.all()}
        lost = [one for name, one in known.items() if name not in wanted]
        changed = [one for name, one in known.items() if wanted.get(name, one.uri_prefix) != one.uri_prefix]
        if lost or changed:
            names = ", ".join(one.name for one in [*changed, *lost])
            confirm(f"Change or remove the target roots {names} of {there.environment.slug}?", force)
        for one in changed:
            there.change(one, wanted[one.name])
        for name in wanted.keys() - known.keys():
            there.add(name, wanted[name])
        for one in lost:
            there.remove(one)
        _told(there.remember(), as_json)
    return 0


def _told(roots: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json({"target_roots": roots})
    else:
        show_rows(("name", "uri"), sorted(roots.items()), "no target roots")


def pairs(words: list[str]) -> dict[str, str]:
    """Target roots written as NAME=URI."""
    found = {}
    for word in words:
        name, sign, uri = word.partition("=")
        if not (name and sign and uri):
            raise Invalid(f"{word!r} is not NAME=URI", code="usage")
        found[name] = uri
    return found


def _from_json(document: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(document, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise Invalid(f"--from-json must be an object of names and places: {error}", code="usage") from None


class Roots:
    """The target roots of the environment a session works in, at the server."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._workspace_id = session.workspace_id()
        place = session.place().environment_id or session.config.environment
        self.environment: Environment = choose_environment(session.environments(self._workspace_id), place)
        self._path = f"/api/v1/ui/workspaces/{self._workspace_id}/environments/{self.environment.id}/target-roots"

    def _ask(self, method: str, more: str = "", body: Any = None) -> Any:
        return self._session.call(method, self._path + more, body=body, as_who=f"workspace:{self._workspace_id}")

    def all(self) -> list[Root]:
        return msgspec.convert(self._ask("GET"), list[Root])

    def add(self, name: str, uri: str) -> None:
        self._ask("POST", body={"name": name, "uri_prefix": uri})

    def change(self, root: Root, uri: str) -> None:
        self._ask("PATCH", f"/{root.id}", {"uri_prefix": uri})

    def remove(self, root: Root) -> None:
        self._ask("DELETE", f"/{root.id}")

    def remember(self) -> dict[str, str]:
        """What there is now; it is what builds here use from now on, if they work in this environment."""
        roots = {one.name: one.uri_prefix for one in self.all()}
        if not self._session.config.api_key:
            keep_roots(self._session, roots)
        return roots
