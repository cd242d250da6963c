"""Workspaces and what they consist of, as the build registry's clients know them. Names are snake case; nothing is left out."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["owner", "admin", "member"]
KeyRole = Literal["member", "manager", "operator", "viewer", "approver", "analyst", "metrics", "auditor"]


class WorkspaceFault(msgspec.Struct):
    """`detail` is a text, or for wrong fields a list of `{type, loc, msg, input}`."""

    detail: Any


class Jwk(msgspec.Struct):
    kty: Literal["RSA"]
    use: Literal["sig"]
    alg: Literal["RS256"]
    kid: str
    n: str
    e: str


class Jwks(msgspec.Struct):
    keys: list[Jwk]


class SignInWays(msgspec.Struct, omit_defaults=True):
    """How people sign in: `oidc` at a provider, `local` with a password, `none` not at all."""

    auth_mode: Literal["oidc", "local", "none"]
    oidc_issuer: str = ""
    oidc_client_id: str = ""


class SignIn(msgspec.Struct):
    """`email` may be a user name."""

    password: str
    email: str = ""
    username: str = ""


class SignedIn(msgspec.Struct):
    """`expires_in`: seconds. The session token is exchanged for tokens of workspaces."""

    session_token: str
    expires_in: int


class Exchange(msgspec.Struct):
    """`refresh`: whether a refresh token is wanted as well, by who has a session of this server."""

    workspace_id: str
    refresh: bool = False


class WorkspaceToken(msgspec.Struct, omit_defaults=True):
    """`expires_in`: seconds."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str = ""
    scope: str = ""


class TokenRequest(msgspec.Struct, omit_defaults=True):
    """A form. `refresh_token` with its grant; for `client_credentials` an API key's id and text, here or as HTTP basic."""

    grant_type: Literal["refresh_token", "client_credentials"]
    refresh_token: str = ""
    client_id: str = ""
    client_secret: str = ""
    scope: str = ""


class TokenFault(msgspec.Struct):
    error: str
    error_description: str


class WantTicket(msgspec.Struct):
    """`capabilities`: the only ones the ticket is good for; left out = all of the caller's."""

    capabilities: list[str] | None = None


class StreamTicket(msgspec.Struct):
    ticket: str
    expires_in: int


class SetUp(msgspec.Struct):
    token: str
    username: str
    password: str


class SignOut(msgspec.Struct):
    refresh_token: str = ""


class MadeSigningKey(msgspec.Struct):
    kid: str


class Account(msgspec.Struct):
    id: str
    external_id: str
    email: str
    display_name: str | None


class MyWorkspace(msgspec.Struct):
    id: str
    name: str
    slug: str
    role: Role
    is_personal: bool


class Profile(msgspec.Struct):
    user: Account
    workspaces: list[MyWorkspace]


class MyInvite(msgspec.Struct):
    id: str
    workspace_id: str
    workspace_name: str
    role: Role
    invited_by_email: str | None


class CreateWorkspace(msgspec.Struct):
    name: str
    slug: str
    description: str | None = None
    initial_environment_name: str | None = None
    initial_environment_slug: str | None = None
    initial_target_root_name: str | None = None
    initial_target_root_uri: str | None = None


class ChangeNamed(msgspec.Struct):
    """What is left out or null stays as it is."""

    name: str | None = None
    description: str | None = None


class ChangeEnvironment(ChangeNamed):
    """`max_concurrent_locks`: 0 = no limit."""

    max_concurrent_locks: int | None = None


class Workspace(msgspec.Struct):
    id: str
    name: str
    slug: str
    description: str | None
    is_personal: bool


class WorkspaceDetail(Workspace):
    member_count: int
    environment_count: int


class WorkspaceMember(msgspec.Struct):
    """`environments`: where the role counts; elsewhere they see what a viewer sees. An empty list = everywhere."""

    id: str
    user_id: str
    email: str
    display_name: str | None
    role: Role
    environments: list[str] = []


class ChangeMember(msgspec.Struct):
    """`environments`: ids of those the role counts in; an empty list = all. Left out or null, that stays as it is."""

    role: Role
    environments: list[str] | None = None


class CreateInvite(msgspec.Struct):
    email: str
    role: Role = "member"


class WorkspaceInvite(msgspec.Struct):
    id: str
    email: str
    role: Role
    status: Literal["pending"]
    invited_by_email: str | None


class CreateEnvironment(msgspec.Struct):
    name: str
    slug: str
    description: str | None = None


class Environment(msgspec.Struct):
    id: str
    workspace_id: str
    name: str
    slug: str
    description: str | None
    owner_id: None = None
    max_concurrent_locks: int | None = None
    """Locks of the build registry that may be held at once; null = no limit."""


class CreateEnvironmentKey(msgspec.Struct):
    """`role`: what the key may do in its environment."""

    name: str
    role: KeyRole = "member"


class EnvironmentKey(msgspec.Struct):
    id: str
    environment_id: str
    name: str
    key_prefix: str
    created_by_id: str | None
    created_at: str
    last_used_at: str | None
    revoked_at: str | None


class MadeEnvironmentKey(EnvironmentKey):
    key: str


class CreateTargetRoot(msgspec.Struct):
    name: str
    uri_prefix: str


class ChangeTargetRoot(msgspec.Struct):
    name: str | None = None
    uri_prefix: str | None = None


class TargetRoot(msgspec.Struct):
    id: str
    environment_id: str
    name: str
    uri_prefix: str
    created_at: str


class TargetRootPlace(msgspec.Struct):
    name: str
    uri_prefix: str
