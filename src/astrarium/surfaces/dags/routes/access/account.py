"""Signing in, users and API keys: the words of `/api/v2` for what tenancy keeps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .....errors import Invalid, Problem
from .....kernel.record.entry import Entry
from .....web.caller import Caller, caller_of, counted
from .....web.limit import address_of
from ....operation import Endpoint, Operation, answer, read_body
from ....tenancy.catalog import USER, key_body, key_name
from ....tenancy.room import Tenancy
from ... import wire
from ...views.run import shown_time

ONE_USER = "/users/{userId}"
ONE_KEY = "/api-keys/{keyId}"
EPOCH_US = 1
"""Accounts that were never made (the owner of the machine) are as old as the epoch: the field is never empty."""


def tenancy_of(request: Request) -> Tenancy:
    tenancy: Tenancy = request.app.state.tenancy
    return tenancy


async def enter(request: Request) -> tuple[Tenancy, Caller]:
    return tenancy_of(request), await caller_of(request)


def moment(micros: int) -> str:
    return shown_time(micros or EPOCH_US)


def parse_expiry(text: str | None) -> int:
    """Microseconds UTC of an RFC 3339 time with an offset; 0 when none is given. Raises `Invalid`."""
    if not text:
        return 0
    try:
        given = datetime.fromisoformat(text)
        if given.tzinfo is not None:
            return int(given.astimezone(UTC).timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        pass  # told below, as for a time without an offset
    problem = Problem("must be an RFC 3339 time with an offset, e.g. 2030-01-31T12:00:00Z", path="expiresAt")
    raise Invalid(f"expiresAt {problem.message}", [problem])


def shown_user(entry: Entry) -> wire.access.User:
    return wire.access.User(entry.id, entry.name, entry.body["role"], moment(entry.created_at), moment(entry.updated_at))


def shown_key(entry: Entry, tenancy: Tenancy) -> wire.access.Key:
    body, used = key_body(entry), tenancy.identity.used_at(entry)
    return wire.access.Key(
        entry.id, key_name(entry), body.role, body.prefix, moment(entry.created_at), moment(entry.updated_at),
        entry.created_by.partition(":")[2], description=body.description, last_used_at=moment(used) if used else "",
        expires_at=moment(body.expires_at) if body.expires_at else "",
    )  # fmt: skip


# -- signing in --------------------------------------------------------------------------------------------------------


async def login(request: Request) -> Response:
    body = await read_body(request, wire.access.Login)
    with counted(request):
        entry, token, until = await tenancy_of(request).identity.sign_in(body.username, body.password, address_of(request))
    return answer(wire.access.Session(token, moment(until), shown_user(entry)))


async def get_me(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer(wire.access.UserAnswer(shown_user(await tenancy.identity.account(caller))))


async def change_password(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.access.ChangePassword)
    if caller.actor.kind != USER or not (entry := await tenancy.identity.account(caller)).version:
        raise Invalid(f"{caller.shown} has no password here", hint="only built-in users that signed in have one")
    await tenancy.users.change_password(caller, entry, body.current_password, body.new_password)
    return answer(wire.access.Done("the password was changed; sign in again"))


# -- users -------------------------------------------------------------------------------------------------------------


async def get_users(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer(wire.access.UserList([shown_user(entry) for entry in await tenancy.users.all(caller)]))


async def create_user(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.access.CreateUser)
    entry = await tenancy.users.create(caller, body.username, body.password, body.role)
    return answer(wire.access.UserAnswer(shown_user(entry)), 201)


async def get_user(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer(wire.access.UserAnswer(shown_user(await tenancy.users.get(caller, request.path_params["userId"]))))


async def change_user(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.access.ChangeUser)
    entry = await tenancy.users.change(caller, request.path_params["userId"], body.username, body.role)
    return answer(wire.access.UserAnswer(shown_user(entry)))


async def delete_user(request: Request) -> Response:
    tenancy, caller = await enter(request)
    await tenancy.users.drop(caller, request.path_params["userId"])
    return Response(status_code=204)


async def reset_password(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.access.ResetPassword)
    await tenancy.users.reset_password(caller, request.path_params["userId"], body.new_password)
    return answer(wire.access.Done("the password was reset"))


# -- API keys ----------------------------------------------------------------------------------------------------------


async def get_keys(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer(wire.access.KeyList([shown_key(entry, tenancy) for entry in await tenancy.keys.all(caller)]))


async def create_key(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.access.CreateKey)
    expires_at = parse_expiry(body.expires_at)
    entry, text = await tenancy.keys.create(caller, body.name, body.role, body.description or "", expires_at)
    return answer(wire.access.NewKey(shown_key(entry, tenancy), text), 201)


async def get_key(request: Request) -> Response:
    tenancy, caller = await enter(request)
    entry = await tenancy.keys.get(caller, request.path_params["keyId"])
    return answer(wire.access.KeyAnswer(shown_key(entry, tenancy)))


async def change_key(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.access.ChangeKey)
    entry = await tenancy.keys.change(caller, request.path_params["keyId"], body.name, body.description, body.role)
    return answer(wire.access.KeyAnswer(shown_key(entry, tenancy)))


async def delete_key(request: Request) -> Response:
    tenancy, caller = await enter(request)
    await tenancy.keys.drop(caller, request.path_params["keyId"])
    return Response(status_code=204)


def row(method: str, path: str, id_: str, summary: str, act: Endpoint, *failures: int, **more: Any) -> Operation:
    """As the other operations of `/api/v2`, but never for a remote node: each server has its own users."""
    more.setdefault("needs", "admin")
    refusals = (401, 403) if more["needs"] == "admin" else (401,)
    return Operation(method, path, id_, summary, act, failures=(*failures, *refusals), **more)


OPERATIONS = (
    row("POST", "/auth/login", "login", "Sign in with a password", login, 400, 429, needs="", body=wire.access.Login,
        answer=wire.access.Session),
    row("GET", "/auth/me", "getCurrentUser", "Who calls", get_me, needs="self", answer=wire.access.UserAnswer),
    row("POST", "/auth/change-password", "changePassword", "Change one's own password", change_password, 400, needs="self",
        body=wire.access.ChangePassword, answer=wire.access.Done),
    row("GET", "/users", "listUsers", "List users", get_users, answer=wire.access.UserList),
    row("POST", "/users", "createUser", "Make a user", create_user, 400, 409, body=wire.access.CreateUser,
        answer=wire.access.UserAnswer, status=201),
    row("GET", ONE_USER, "getUser", "Get a user", get_user, 404, answer=wire.access.UserAnswer),
    row("PATCH", ONE_USER, "updateUser", "Change a user", change_user, 400, 404, 409, body=wire.access.ChangeUser,
        answer=wire.access.UserAnswer),
    row("DELETE", ONE_USER, "deleteUser", "Delete a user", delete_user, 404, status=204),
    row("POST", ONE_USER + "/reset-password", "resetUserPassword", "Give a user another password", reset_password, 400, 404,
        body=wire.access.ResetPassword, answer=wire.access.Done),
    row("GET", "/api-keys", "listAPIKeys", "List API keys", get_keys, answer=wire.access.KeyList),
    row("POST", "/api-keys", "createAPIKey", "Make an API key; its text is told once", create_key, 400, 409,
        body=wire.access.CreateKey, answer=wire.access.NewKey, status=201),
    row("GET", ONE_KEY, "getAPIKey", "Get an API key", get_key, 404, answer=wire.access.KeyAnswer),
    row("PATCH", ONE_KEY, "updateAPIKey", "Change an API key", change_key, 400, 404, 409, body=wire.access.ChangeKey,
        answer=wire.access.KeyAnswer),
    row("DELETE", ONE_KEY, "deleteAPIKey", "Revoke an API key", delete_key, 404, status=204),
)  # fmt: skip
