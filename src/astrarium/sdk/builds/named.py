"""Tasks by a name and texts, as commands and steps know them: `module:attribute` and parameters."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from ...errors import Invalid, NotFound
from ..task.task import Task, tasks_in

EXAMPLE = "like `pipeline:report`: a task, a class of tasks, or a function that gives tasks"


def find_tasks(name: str, params: Mapping[str, Any], folder: str = "") -> list[Task[Any]]:
    """The tasks `module:attribute` names: a task as it stands; of a task class, one with these fields; of a function, what it gives for
    these arguments. `folder` comes first where modules are looked for.

    A parameter given as text is what its field makes of that text, else of the JSON in it (`[1, 2]`). Raises `NotFound` when there is
    no such thing, `Invalid` when the parameters do not fit or what is found gives no task; whatever importing it raises."""
    found = _found(name, folder)
    if isinstance(found, Task):
        if params:
            raise Invalid(f"{name} is a task already and takes no parameters", hint=f"leave out {', '.join(sorted(params))}")
        return [found]
    if isinstance(found, type) and issubclass(found, Task):
        return [_made(name, found, params)]
    if not callable(found):
        raise Invalid(f"{name} is {type(found).__name__}, not a task", hint=EXAMPLE)
    return _given(name, found, params)


def _found(name: str, folder: str) -> Any:
    module, _, path = name.partition(":")
    if not module or not path:
        raise Invalid(f"{name!r} names no task", hint=EXAMPLE)
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module and not module.startswith(f"{error.name}."):
            raise
        raise NotFound(f"there is no module {module!r}", hint=f"looked first in {sys.path[0]}") from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise NotFound(f"module {module!r} has no {path!r}", hint=EXAMPLE)
        found = getattr(found, part)
    return found


def _made(name: str, kind: type[Task[Any]], params: Mapping[str, Any]) -> Task[Any]:
    try:
        return kind(**params)
    except ValidationError as error:
        wrong = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
    read = {key: _read(value) if key in wrong else value for key, value in params.items()}
    try:
        return kind(**read)
    except ValidationError as error:
        problems = {str(one["loc"][0]) if one["loc"] else "": one["msg"] for one in reversed(error.errors())}
        told = "; ".join(f"{field}: {problem}" for field, problem in sorted(problems.items()))
        raise Invalid(f"these parameters make no {name}: {told}", hint=f"its fields: {_fields(kind)}") from None


def _fields(kind: type[Task[Any]]) -> str:
    return ", ".join(f"{name}{'' if field.is_required() else '?'}" for name, field in kind.model_fields.items())


def _given(name: str, function: Callable[..., Any], params: Mapping[str, Any]) -> list[Task[Any]]:
    try:
        given = function(**{key: _read(value) for key, value in params.items()})
    except TypeError as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise
        raise Invalid(f"{name} does not take these parameters: {error}", hint="see its definition") from None
    tasks = list(tasks_in(given))
    if not tasks:
        raise Invalid(f"{name} gave no task", hint="it is to return a task, or a list of them")
    return tasks


def _read(value: Any) -> Any:
    """The JSON in a text, if there is; else the value itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
