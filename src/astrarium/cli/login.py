"""How `astrarium auth login` goes: find the server, prove who we are there, choose a place, keep all of it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
import typer

from ..config import ClientConfig, is_loopback, load_config
from ..config.home import Credential, Home
from ..config.profile import DEFAULT, PROFILE, REGISTRY, Profile, Written, check_name, is_address, put_entry, read_all
from ..errors import Invalid, NotFound, Unauthenticated
from ..sdk.session import Environment, Me, Place, Session, Workspace, sync_roots
from ..sdk.session.place import choose_environment, choose_workspace
from ..sdk.session.refusal import authentication_failed, workspace_not_found
from .callback import sign_in
from .client import session_of
from .link import live_server
from .option import settings_of

AUTH_CONFIG, LOGIN = "/api/v1/auth/config", "/api/v1/auth/login"
EARLY_S = 30.0
PASSWORD_MODES = ("local", "builtin")
OPEN_MODE = "none"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for; empty means that it says nothing."""

    registry: str = ""
    registry_url: str = ""
    workspace: str = ""
    environment: str = ""
    profile: str = ""
    user: str = ""
    password_stdin: bool = False
    browser: bool = True
    port: int = 0
    issuer: str = ""
    client_id: str = ""


class Offer(msgspec.Struct, frozen=True):
    """How a server wants people to sign in."""

    auth_mode: str = ""
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None


class SignedIn(msgspec.Struct, frozen=True):
    """What a sign-in with a password gives."""

    session_token: str
    expires_in: float


class Proof(msgspec.Struct, frozen=True):
    """An identity token, until when it is good, and what is kept for later."""

    token: str
    expires_at: float
    credential: Credential


def log_in(wanted: Wanted) -> dict[str, Any]:
    """Sign in and keep what later calls need. Returns what people are told."""
    home = Home()
    written = read_all(home, home.folder)
    config = _start(wanted, written)
    with session_of(msgspec.structs.replace(config, user="", api_key="")) as session:
        proof = _prove(session, wanted)
        if proof is not None:
            session.identity.begin(proof.token, proof.expires_at)
        me = session.me()
    user = (me.user.email or wanted.user) if proof is not None else ""
    if proof is not None:
        home.keep_credential(config.key, user, proof.credential)
    workspace = _workspace(me, wanted.workspace or config.workspace)
    with session_of(msgspec.structs.replace(config, user=user, api_key="")) as session:
        if proof is not None:
            session.identity.begin(proof.token, proof.expires_at)
        environment = _environment(session.environments(workspace.id), wanted.environment or config.environment)
        session.work_at(Place(workspace.id, environment.id))
        roots = sync_roots(session)
    profile = Profile(config.registry, user, workspace.slug, environment.slug)
    name = _keep(home, written, config.registry_url, profile, wanted.profile)
    return {"profile": name, "registry_url": config.registry_url, **msgspec.structs.asdict(profile), "target_roots": roots}


def _keep(home: Home, written: Written, url: str, profile: Profile, asked: str) -> str:
    """Write the registry and the profile, and make it the usual one. Returns its name: what was asked for; that of a profile that
    says the same, or says it without a user; else a new one."""
    if written.registries.get(profile.registry) != url:
        put_entry(home, REGISTRY, profile.registry, {"url": url})
    same = (profile, msgspec.structs.replace(profile, user=""))
    name = check_name(asked, PROFILE) if asked else next((name for name, known in written.profiles.items() if known in same), "")
    parts = (profile.registry, profile.user.partition("@")[0], profile.workspace, profile.environment)
    name = name or _plain("-".join(filter(None, parts)))
    put_entry(home, PROFILE, name, msgspec.structs.asdict(profile))
    put_entry(home, DEFAULT, "", {PROFILE: name})
    return name


def _start(wanted: Wanted, written: Written) -> ClientConfig:
    """The registry to sign in at, and the place as far as it is configured."""
    if (
        wanted.profile
        and not wanted.registry
        and not wanted.registry_url
        and wanted.profile in read_all(Home(), Home().folder).profiles
    ):
        return load_config(profile=wanted.profile)
    if wanted.registry_url:
        return _at_address(wanted, written)
    config = load_config(registry=wanted.registry or None)
    if config.registry_url:
        return _named(config, written)
    if len(written.registries) == 1:
        return load_config(registry=next(iter(written.registries)))
    server = live_server(settings_of())
    if server is not None:
        return _at_address(msgspec.structs.replace(wanted, registry_url=server.url), written)
    raise Invalid(
        "no server is named", code="usage",
        hint="astrarium auth login --registry-url https://… (known registries: " + (", ".join(written.registries) or "none") + ")",
    )  # fmt: skip


def _at_address(wanted: Wanted, written: Written) -> ClientConfig:
    url = wanted.registry_url.rstrip("/")
    if not is_address(url):
        raise Invalid(f"{url!r} is no address", hint="write http://… or https://…", code="usage")
    known = written.registries.get(wanted.registry, url).rstrip("/")
    if known != url:
        raise Invalid(
            f"the registry {wanted.registry!r} is {known}, not {url}", code="usage",
            hint=f"give it the new address with `astrarium config registry add {wanted.registry} --url {url}`",
        )  # fmt: skip
    if wanted.registry:
        return msgspec.structs.replace(load_config(registry_url=url), registry=check_name(wanted.registry, REGISTRY))
    return _named(load_config(registry_url=url), written)


def _named(config: ClientConfig, written: Written) -> ClientConfig:
    """With a name for the registry, a new one where it has none. A project's file may not give a known name another meaning."""
    if config.registry:
        known = written.registries.get(config.registry, config.registry_url).rstrip("/")
        if known != config.registry_url:
            raise Invalid(
                f"{config.source_of('registry_url')} says the registry {config.registry!r} is {config.registry_url}, "
                f"yours is {known}",
                hint="give yours the new address with `astrarium config registry add`, if that is meant",
            )
        return config
    parts = urlsplit(config.registry_url)
    host = parts.hostname or ""
    name = "local" if is_loopback(host) else _plain(host)
    if name in written.registries and parts.port:
        name = f"{name}-{parts.port}"
    return msgspec.structs.replace(config, registry=name)


def _prove(session: Session, wanted: Wanted) -> Proof | None:
    """Who we are, proved the way the server asks for; None where it asks for nothing."""
    offer = Offer(oidc_issuer=wanted.issuer, oidc_client_id=wanted.client_id)
    if not (wanted.issuer and wanted.client_id):
        offer = msgspec.convert(session.call("GET", AUTH_CONFIG, as_who="nobody"), Offer)
    if offer.auth_mode == OPEN_MODE and not wanted.user:
        return None
    if offer.auth_mode in PASSWORD_MODES or wanted.user:
        return _with_password(session, wanted)
    issuer, client_id = wanted.issuer or offer.oidc_issuer or "", wanted.client_id or offer.oidc_client_id or ""
    if not issuer or not client_id:
        raise Invalid(
            f"{session.config.registry_url} does not say where to sign in", hint="give --oidc-issuer and --client-id, or --user"
        )
    provider, tokens = sign_in(session, issuer, client_id, wanted.port, wanted.browser)
    until = tokens.until(time.time())
    kept = Credential(registry_url=session.config.registry_url, token_endpoint=provider.token_endpoint, client_id=client_id)
    if tokens.refresh_token:
        kept = msgspec.structs.replace(kept, refresh_token=tokens.refresh_token)
    else:
        kept = msgspec.structs.replace(kept, session_token=tokens.identity, session_expires_at=until)
    return Proof(tokens.identity, until, kept)


def _with_password(session: Session, wanted: Wanted) -> Proof:
    user, password = wanted.user, ""
    if wanted.password_stdin:
        if not user:
            raise Invalid("--password-stdin needs --user", code="usage")
        password = sys.stdin.readline().rstrip("\r\n")
    elif not sys.stdin.isatty():
        raise Invalid("there is nobody to ask for a password", hint="use --user and --password-stdin", code="usage")
    else:
        user = user or typer.prompt("User or e-mail", err=True)
        password = typer.prompt("Password", hide_input=True, err=True)
    body = {"email": user, "password": password}
    try:
        answer = msgspec.convert(session.call("POST", LOGIN, body=body, as_who="nobody"), SignedIn)
    except Unauthenticated as error:
        told = error.message.removeprefix("Authentication failed: ")
        raise authentication_failed(told, hint="check the name and the password, and try again") from None
    until = time.time() + answer.expires_in - EARLY_S
    kept = Credential(
        auth_mode="local", registry_url=session.config.registry_url, session_token=answer.session_token, session_expires_at=until
    )
    return Proof(answer.session_token, until, kept)


def _workspace(me: Me, wanted: str) -> Workspace:
    if not me.workspaces:
        raise workspace_not_found("you are a member of none", hint="make one in the web pages, or have somebody invite you")
    if not wanted and len(me.workspaces) > 1 and sys.stdin.isatty():
        wanted = _ask("Workspace", me.workspaces)
    try:
        found = choose_workspace(me.workspaces, wanted)
    except NotFound as error:
        raise workspace_not_found(error.message.removeprefix("Workspace not found: "), hint="choose with --workspace") from None
    if found is None:
        there = ", ".join(one.slug for one in me.workspaces)
        raise workspace_not_found(f"{wanted!r} is none you are a member of; known are {there}", hint="choose with --workspace")
    return found


def _environment(environments: list[Environment], wanted: str) -> Environment:
    if not wanted and len(environments) > 1 and sys.stdin.isatty():
        wanted = _ask("Environment", environments)
    return choose_environment(environments, wanted)


def _ask(what: str, choices: Sequence[Workspace | Environment]) -> str:
    """The slug of what somebody at the terminal chooses, by number or by name."""
    for number, one in enumerate(choices, 1):
        print(f"  {number}  {one.slug}  ({one.name})", file=sys.stderr)
    said: str = typer.prompt(what, default="1", err=True).strip()
    return choices[int(said) - 1].slug if said.isdecimal() and 0 < int(said) <= len(choices) else said


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+|__+", "-", text).strip("-_")[:64] or "registry"
