"""Users, API keys and signing in, as the DAG API shows them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from .shape import Ask, Wire

Role = Literal["admin", "manager", "operator", "viewer"]


class User(Wire):
    id: str
    username: str
    role: str
    created_at: str
    updated_at: str


class UserAnswer(Wire):
    user: User


class UserList(Wire):
    users: list[User]


class Session(Wire):
    token: str
    expires_at: str
    user: User


class Done(Wire):
    message: str


class Login(Ask):
    username: str
    password: str


class ChangePassword(Ask):
    current_password: str
    new_password: str


class ResetPassword(Ask):
    new_password: str


class CreateUser(Ask):
    username: str
    password: str
    role: Role


class ChangeUser(Ask):
    username: str | None = None
    role: Role | None = None


class Key(Wire):
    """`expiresAt` (our own) is left out for a key that lasts."""

    id: str
    name: str
    role: str
    key_prefix: str
    created_at: str
    updated_at: str
    created_by: str
    description: str = ""
    last_used_at: str = ""
    expires_at: str = ""


class KeyAnswer(Wire):
    api_key: Key


class KeyList(Wire):
    api_keys: list[Key]


class NewKey(Wire):
    """`key` is told once."""

    api_key: Key
    key: str


class CreateKey(Ask):
    """`expiresAt` (our own): an RFC 3339 time with an offset."""

    name: str
    role: Role
    description: str | None = None
    expires_at: Annotated[str, msgspec.Meta(max_length=40)] | None = None


class ChangeKey(Ask):
    name: str | None = None
    description: str | None = None
    role: Role | None = None
