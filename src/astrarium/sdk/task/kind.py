"""The classes of tasks by namespace and name, and which namespace a module's classes are in."""

from __future__ import annotations

from typing import Any

from ...errors import Invalid, NotFound

_KINDS: dict[tuple[str, str], type[Any]] = {}
_SCOPES: dict[str, str] = {}


def namespace(name: str, scope: str) -> None:
    """Put the task classes defined in module `scope`, and in modules below it, into the namespace `name`. Call it above the classes,
    as `ar.namespace("pipelines.sales", scope=__name__)`."""
    _SCOPES[scope] = name


def auto_namespace(scope: str) -> None:
    """Put the task classes defined in module `scope`, and in modules below it, into a namespace of the module's name:
    `ar.auto_namespace(__name__)`."""
    _SCOPES[scope] = scope


def namespace_of(module: str) -> str:
    """The namespace of classes that a module defines: of the nearest scope that holds it, `""` without one."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        found = _SCOPES.get(".".join(parts[:length]))
        if found is not None:
            return found
    return ""


def remember(kind: type[Any], space: str, name: str) -> None:
    """Enter a class. The same class defined again (a notebook's cell, a reloaded module) takes the place of the former; two different
    ones of one name are refused, since their tasks could not be told apart."""
    known = _KINDS.get((space, name))
    if known is not None and not _replaces(kind, known):
        where = f"{space}.{name}" if space else name
        raise Invalid(
            f"there are two task classes named {where!r}: {_place(known)} and {_place(kind)}",
            hint="rename one, or give its module a namespace: ar.auto_namespace(__name__)",
        )
    _KINDS[space, name] = kind


def find(space: str, name: str) -> type[Any]:
    """The class of a stored task. Raises `NotFound` when no module that is imported here defines it."""
    found = _KINDS.get((space, name))
    if found is None:
        where = f"{space}.{name}" if space else name
        raise NotFound(
            f"no task class named {where!r} is defined here",
            hint="import the module that defines it first; for a class that is gone, ar.AliasTask reads its result",
        )
    return found


def _replaces(kind: type[Any], known: type[Any]) -> bool:
    return _place(kind) == _place(known) or "<locals>" in known.__qualname__


def _place(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
