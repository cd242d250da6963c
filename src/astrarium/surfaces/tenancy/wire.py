"""Workspaces and what they consist of, as the build registry's clients know them. Names are snake case; nothing is left out."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["owner", "admin", "member"]


class WorkspaceFault(msgspec.Struct):
    """`detail` is a text, or for wrong fields a list of `{type, loc, msg, input}`."""

    detail: Any


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
    id: str
    user_id: str
    email: str
    display_name: str | None
    role: Role


class ChangeMember(msgspec.Struct):
    role: Role


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


class CreateEnvironmentKey(msgspec.Struct):
    name: str


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
