"""`astrarium auth`: signing in at a server, so that other commands and the SDK can use it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from ..config import ClientConfig, load_config
from ..config.home import Credential, Home
from ..errors import AstrariumError
from ..sdk.session import Session, sync_roots
from ..sdk.session.refusal import authentication_failed
from .callback import PORT
from .client import EnvironmentName, ProfileName, RegistryName, RegistryUrl, WorkspaceName, open_session, session_of
from .login import Wanted, log_in
from .option import AsJson, examples, new_app, print_json
from .screen import show_rows
from .view import local_time

APP = new_app()
EXAMPLES = examples("astrarium auth login --registry-url https://astrarium.example.com", "astrarium auth status")
LOGIN_EXAMPLES = examples(
    "astrarium auth login --registry-url https://astrarium.example.com",
    "astrarium auth login --registry central --workspace my-team --environment production",
    "astrarium auth login --no-browser",
    "pass show astrarium | astrarium auth login --user ada@example.com --password-stdin",
)
LOGOUT_EXAMPLES = examples("astrarium auth logout", "astrarium auth logout --registry central", "astrarium auth logout --all")
STATUS_EXAMPLES = examples("astrarium auth status", "astrarium auth status --registry central --json")
REFRESH_EXAMPLES = examples("astrarium auth refresh", "astrarium auth refresh --workspace other-team")


@APP.callback(epilog=EXAMPLES)
def auth() -> None:
    """Sign in at a server, see as whom, and sign out. docs/guide/clients.md tells what is kept where."""


@APP.command(epilog=LOGIN_EXAMPLES)
def login(
    registry: RegistryName = None,
    registry_url: RegistryUrl = None,
    workspace: WorkspaceName = None,
    environment: EnvironmentName = None,
    profile: Annotated[str | None, typer.Option("-p", "--profile", metavar="NAME", help="Name of the profile to write.")] = None,
    user: Annotated[
        str | None, typer.Option("--user", "--email", metavar="NAME", help="Sign in with a password, as this user.")
    ] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser, or only print the address.")] = True,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port the browser comes back to.")] = PORT,
    oidc_issuer: Annotated[
        str, typer.Option("--oidc-issuer", metavar="URL", help="Provider; else the one the server names.")
    ] = "",
    client_id: Annotated[str, typer.Option("--client-id", metavar="ID", help="Client id at it; else the server's.")] = "",
    as_json: AsJson = False,
) -> int:
    """Sign in, and make a profile with the place to work in; it becomes the usual one.

    With a browser where the server has a provider for that, else with user and password. On another machine than the browser's,
    forward the port first: `ssh -L 8400:localhost:8400 HOST`.
    """
    wanted = Wanted(
        registry=registry or "", registry_url=registry_url or "", workspace=workspace or "", environment=environment or "",
        profile=profile or "", user=user or "", password_stdin=password_stdin, browser=browser, port=port, issuer=oidc_issuer,
        client_id=client_id,
    )  # fmt: skip
    done = log_in(wanted)
    config = load_config(profile=done["profile"])
    if config.api_key:
        print(f"{config.source_of('api_key')} is set: that API key goes before this sign-in", file=sys.stderr)
    if as_json:
        print_json(done)
    else:
        who = (
            f"signed in at {done['registry_url']} as {done['user']}"
            if done["user"]
            else f"{done['registry_url']} needs no sign-in"
        )
        print(f"{who}\nprofile {done['profile']}: {done['workspace']}/{done['environment']}, now the usual one")
        for name, uri in done["target_roots"].items():
            print(f"target root {name}: {uri}")
    return 0


@APP.command(epilog=LOGOUT_EXAMPLES)
def logout(
    registry: RegistryName = None,
    profile: ProfileName = None,
    all_: Annotated[bool, typer.Option("-a", "--all", help="At all registries, all users.")] = False,
    as_json: AsJson = False,
) -> int:
    """End the sign-in, and forget it and the tokens. The profile stays, for the next sign-in."""
    if all_:
        _end_sessions(Home().sign_ins())
        gone = Home().forget()
    else:
        config = load_config(profile=profile, registry=registry)
        gone = []
        if config.registry_url:
            _end_sessions(Home().sign_ins(config.key, config.user))
            gone = Home().forget(config.key, config.user)
        left = Home().credential_file(config.key, config.user)
        if left is not None:
            print(f"{left} was made by Stardag and is left alone", file=sys.stderr)
    if as_json:
        print_json({"removed": [str(path) for path in gone]})
    else:
        print("signed out" if gone else "nobody was signed in")
    return 0


def _end_sessions(sign_ins: Iterable[Credential]) -> None:
    """End at their servers the sessions passwords began; a provider's are its own. What cannot be reached is told and passed over: such
    a session ends by itself."""
    for one in sign_ins:
        if one.session_token and one.registry_url and one.session_expires_at > time.time():
            with session_of(ClientConfig(registry_url=one.registry_url)) as session:
                session.identity.begin(one.session_token, one.session_expires_at)
                try:
                    session.call("POST", "/api/v1/auth/logout", as_who="identity")
                except AstrariumError as error:
                    print(f"the session at {one.registry_url} goes on until it is over: {error.message}", file=sys.stderr)


@APP.command(epilog=STATUS_EXAMPLES)
def status(registry: RegistryName = None, profile: ProfileName = None, as_json: AsJson = False) -> int:
    """Show as whom and with what the configured server is called, and ask it whether that is valid. Exit code 1 if it is not."""
    with open_session(profile, registry) as session:
        found, error = _status(session)
    if as_json:
        print_json(found)
    else:
        show_rows(("what", "value"), [(name.replace("_", " "), value) for name, value in found.items() if value], "")
    if error is not None:
        raise error
    return 0


def _status(session: Session) -> tuple[dict[str, Any], AstrariumError | None]:
    config, kind = session.config, session.identity.kind
    found: dict[str, Any] = {
        "registry": config.registry, "registry_url": config.registry_url, "profile": config.profile,
        "credential": {"key": "API key", "user": "sign-in", "nobody": "none"}[kind],
        "credential_source": config.source_of("api_key") if kind == "key" else "",
        "user": config.user, "workspace": config.workspace, "environment": config.environment, "valid": False,
    }  # fmt: skip
    if kind == "user":
        found["credential_source"] = str(session.home.credential_file(config.key, config.user))
        token = session.home.access_token(config.key, config.user, config.workspace_id)
        found["token_until"] = local_time(int(token.expires_at * 1e6)) if token and token.expires_at > time.time() else ""
    try:
        if kind == "key":
            found["target_roots"] = len(session.call("GET", "/api/v1/target-roots"))
        else:
            me = session.me()
            found |= {"user": me.user.email, "workspaces": ", ".join(one.slug for one in me.workspaces)}
    except AstrariumError as error:
        return found, error
    return found | {"valid": True}, None


@APP.command(epilog=REFRESH_EXAMPLES)
def refresh(
    registry: RegistryName = None, profile: ProfileName = None, workspace: WorkspaceName = None, as_json: AsJson = False
) -> int:
    """Get a new token for the workspace now, and the target roots with it. Commands and builds do that by themselves when one ends."""
    with open_session(profile, registry, workspace=workspace) as session:
        kind = session.identity.kind
        if kind == "nobody" and session.config.user:
            raise authentication_failed(f"{session.config.user} is not signed in at {session.config.registry_url}")
        until = 0.0
        if kind == "user":
            place = session.place()
            session.identity.refresh(place.workspace_id)
            token = session.home.access_token(session.config.key, session.config.user, place.workspace_id)
            until = token.expires_at if token else 0.0
        roots = sync_roots(session)
    if as_json:
        print_json({"credential": kind, "token_until": until, "target_roots": roots})
    else:
        print(f"new token until {local_time(int(until * 1e6))}" if until else "there is no token to renew")
        print(f"target roots: {', '.join(roots) or 'none'}")
    return 0
