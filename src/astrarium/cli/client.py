"""Options of the commands that use a server as a client does, and the session they call it with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from ..config import ClientConfig, load_config
from ..errors import Invalid, Refused
from ..sdk.registry.api import APIRegistry
from ..sdk.session import Session
from ..spec.graph import Retry
from .link import live_server
from .option import settings_of

ProfileName = Annotated[
    str | None, typer.Option("-p", "--profile", metavar="NAME", help="Profile to act with; else the active one.")
]
RegistryName = Annotated[str | None, typer.Option("-r", "--registry", metavar="NAME", help="A registry of config.toml.")]
RegistryUrl = Annotated[
    str | None, typer.Option("-u", "--registry-url", "--api-url", metavar="URL", help="Address of the server.")
]
WorkspaceName = Annotated[str | None, typer.Option("-w", "--workspace", metavar="SLUG|ID", help="Workspace to work in.")]
EnvironmentName = Annotated[
    str | None, typer.Option("-e", "--environment", "--env", metavar="SLUG|ID", help="Environment to work in.")
]
Force = Annotated[bool, typer.Option("-f", "--force", "-y", "--yes", help="Do not ask.")]

ONCE = Retry(limit=0)
"""People at a terminal are told at once that a server does not answer."""


def open_session(
    profile: str | None = None,
    registry: str | None = None,
    registry_url: str | None = None,
    workspace: str | None = None,
    environment: str | None = None,
) -> Session:
    """A session by the options and the configuration. Raises `Invalid` when no registry is configured."""
    return session_of(
        load_config(
            profile=profile, registry=registry, registry_url=registry_url, workspace=workspace, environment=environment
        )
    )  # fmt: skip


@contextmanager
def open_registry(profile: str | None, environment: str | None) -> Iterator[APIRegistry]:
    """What builds are recorded in, by the options and the configuration; where none is configured, the live server of the data folder.
    Raises `Invalid` when there is neither."""
    config = load_config(profile=profile, environment=environment)
    server = None if config.registry_url else live_server(settings_of())
    if server is not None:
        config = load_config(registry_url=server.url, api_key=server.token, environment=environment)
    with session_of(config) as session:
        yield APIRegistry(session=session)


def session_of(config: ClientConfig) -> Session:
    return Session(config, retry=ONCE)


def confirm(question: str, force: bool) -> None:
    """Ask before something is lost. Raises `Refused` on no, `Invalid` where there is nobody to ask."""
    if force:
        return
    if not sys.stdin.isatty():
        raise Invalid("there is nobody to ask whether that is meant", hint="say so with --force", code="usage")
    if not typer.confirm(question, err=True):
        raise Refused("nothing was changed")
