"""Where in a registry a client works, chosen from what the registry says there is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...errors import NotFound
from .refusal import ENVIRONMENT_HINT, workspace_not_found

USUAL = "default"
"""Slug of the environment that is taken when none is named and there are several."""


class Workspace(msgspec.Struct, frozen=True):
    id: str
    name: str
    slug: str
    role: str = ""
    is_personal: bool = False


class Person(msgspec.Struct, frozen=True):
    id: str
    email: str = ""
    display_name: str | None = None


class Me(msgspec.Struct, frozen=True):
    """Who the registry says we are, and the workspaces we are in."""

    user: Person
    workspaces: list[Workspace]


class Environment(msgspec.Struct, frozen=True):
    id: str
    name: str
    slug: str
    workspace_id: str = ""
    description: str | None = None


class Root(msgspec.Struct, frozen=True):
    """A target root as its environment has it."""

    name: str
    uri_prefix: str
    id: str = ""


class Place(msgspec.Struct, frozen=True):
    """A workspace and an environment by their ids; both empty where the credential or the server decides."""

    workspace_id: str = ""
    environment_id: str = ""


def choose_workspace(workspaces: Sequence[Workspace], wanted: str) -> Workspace | None:
    """The workspace of this id, slug or, where it is the only one, name. Nothing wanted: the only one there is, else the error that
    lists them; None when there is none of that name."""
    if not wanted:
        if len(workspaces) == 1:
            return workspaces[0]
        raise workspace_not_found(f"none is named, known are {_listed(workspaces) or 'none'}")
    for found in ([one for one in workspaces if wanted in (one.id, one.slug)], [one for one in workspaces if one.name == wanted]):
        if len(found) == 1:
            return found[0]
    return None


def choose_environment(environments: Sequence[Environment], wanted: str) -> Environment:
    """The environment of this id or slug. Nothing wanted: the only one, else the one called `default`. Raises `NotFound` with what
    there is."""
    known = [one for one in environments if wanted in (one.id, one.slug)]
    if not wanted:
        known = list(environments) if len(environments) == 1 else [one for one in environments if one.slug == USUAL]
    if len(known) == 1:
        return known[0]
    there = f"known are {_listed(environments) or 'none'}"
    told = f"Environment not found: {wanted!r}; {there}" if wanted else f"Environment not found: none is named; {there}"
    raise NotFound(told, code="environment_not_found", hint=ENVIRONMENT_HINT)


def _listed(named: Sequence[Workspace | Environment]) -> str:
    return ", ".join(one.slug for one in named)
