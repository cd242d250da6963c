"""`astrarium admin`: the first user, and the server's own keys. For who can write to the data folder; nothing here asks for a sign-in."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from ..config import Settings
from ..errors import Invalid
from ..kernel.machine import Registry
from ..kernel.types import Actor
from ..surfaces.tenancy.access.signing import Signers
from ..surfaces.tenancy.catalog import Users
from ..surfaces.tenancy.password import Passwords, check_password
from ..surfaces.tenancy.role import ADMIN, ROLES, check_role
from ..surfaces.tenancy.room import KEYS_FOLDER
from ..surfaces.tenancy.token import new_password, open_ring, rotate
from ..web.caller import EVERYTHING, PERSONAL, Caller
from .alone import open_worker
from .link import Server, ask, live_server
from .option import DatabaseUrl, DataDir, examples, new_app, settings_of

APP = new_app()
CREATE, ROTATE = "create", "rotate-key"
V1, ROTATE_PATH = "/api/v1", "/auth/keys/rotate"
EXAMPLES = examples(
    "astrarium admin create",
    "astrarium admin create --username anna --role manager",
    "astrarium admin create --generate",
    "pass show astrarium | astrarium admin create --password-stdin",
    "astrarium admin rotate-key",
)
BY_COMMAND = Caller(Actor("user", "cli"), PERSONAL, ADMIN, EVERYTHING, "cli")


@APP.command(epilog=EXAMPLES)
def admin(
    what: Annotated[str, typer.Argument(metavar="create|rotate-key", help="What to do.")],
    username: Annotated[str, typer.Option("--username", help="Name of the user to make.")] = "admin",
    role: Annotated[str, typer.Option("--role", help=f"One of {', '.join(ROLES)}.")] = ADMIN,
    generate: Annotated[bool, typer.Option("--generate", help="Make a password up and print it, once.")] = False,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Make a user (`create`), or give the server new keys to sign with (`rotate-key`).

    `create` asks for the password, twice. Both work with a live server on the data folder and without one. After `rotate-key`, tokens for
    workspaces are signed with the new key at once; restart the server to sign sessions with the new secret. What the old ones made stays
    valid.
    """
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    if what == ROTATE:
        return _rotate(settings)
    if what != CREATE:
        raise Invalid(f"admin knows `{CREATE}` and `{ROTATE}`, not `{what}`", code="usage")
    check_role(role)
    password = check_password(_password(generate, password_stdin))
    server = live_server(settings)
    if server is not None:
        _ask(server, username, password, role)
    else:
        asyncio.run(_alone(settings, username, password, role))
    print(f"made the user {username} with the role {role}")
    if generate:
        print(f"password, told only now: {password}")
    return 0


def _password(generate: bool, stdin: bool) -> str:
    if generate:
        return new_password()
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Invalid("there is nobody to ask for a password", hint="use --generate or --password-stdin", code="usage")
    text: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return text


def _ask(server: Server, username: str, password: str, role: str) -> None:
    ask(server, "POST", "/users", {"username": username, "password": password, "role": role})


async def _alone(settings: Settings, username: str, password: str, role: str) -> None:
    async with open_worker(settings) as worker:
        passwords = Passwords()
        try:
            await Users(worker.engine, passwords).create(BY_COMMAND, username, password, role)
        finally:
            passwords.close()


def _rotate(settings: Settings) -> int:
    if not settings.master_key:
        rotate(settings.data_dir / KEYS_FOLDER)
    server = live_server(settings)
    kid = ask(server, "POST", ROTATE_PATH, api=V1)["kid"] if server is not None else asyncio.run(_sign_anew(settings))
    print(f"made the key {kid}; tokens for workspaces are signed with it from now on")
    if settings.master_key:
        print("the secret sessions are signed with comes from the setting master_key: put a new one before it, with a comma between")
    else:
        print("made a new secret in keys/master.key; restart the server to sign sessions with it")
    return 0


async def _sign_anew(settings: Settings) -> str:
    ring = open_ring(settings.data_dir / KEYS_FOLDER, settings.master_key)
    async with open_worker(settings, idle=True) as worker:
        return await Signers(worker.engine, ring, Registry()).rotate(BY_COMMAND.actor)
