"""`@ar.task`: a function with annotations becomes a class of tasks; its parameters are the fields, what it returns is the result."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Coroutine
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from pydantic import create_model

from ...errors import Invalid
from .reference import DependsMark, TaskLoads
from .task import Task, TaskStruct

P = ParamSpec("P")
R = TypeVar("R")

_OWN_NAMES = frozenset({"version", "id", "body", "run", "target", "load", "complete", "requires", "artifacts", "instance_hash"})
"""Names of fields that a task has anyway: no parameter can have them."""


class FunctionTask(Task[R], Generic[R]):
    """A task whose body is a function. Parameters given as tasks are made first, and the function gets their results."""

    __function__: ClassVar[Callable[..., Any]]
    __relpath__: ClassVar[str | Callable[[Any], str] | None] = None

    def requires(self) -> TaskStruct:
        """The tasks among the parameters."""
        found = {name: value for name, value in self._given() if _holds_task(value)}
        return found or None

    def _given(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in type(self).model_fields if name != "version"]

    def _inputs(self) -> dict[str, Any]:
        return {name: _loaded(value) for name, value in self._given()}

    @property
    def _relpath(self) -> str:
        chosen = type(self).__relpath__
        if chosen is None:
            return super()._relpath
        return chosen(self) if callable(chosen) else chosen

    @classmethod
    def call(cls, *args: Any, **kwargs: Any) -> Any:
        """The function itself, called with plain values; of an async one, the awaitable. Nothing is kept."""
        return cls.__function__(*args, **kwargs)


class SyncFunctionTask(FunctionTask[R], Generic[R]):
    """A task whose body is a plain function."""

    def run(self) -> None:
        self._save(type(self).__function__(**self._inputs()))


class AsyncFunctionTask(FunctionTask[R], Generic[R]):
    """A task whose body is an async function."""

    async def run_aio(self) -> None:
        await self._save_aio(await type(self).__function__(**self._inputs()))


class TaskMaker(Protocol[P, R]):
    """What `@ar.task` makes of a function, for type checkers: really a class. Called with the parameters by name, each a value or a
    task, it gives a task."""

    def __call__(self, **fields: Any) -> FunctionTask[R]: ...

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> TaskMaker[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> TaskMaker[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    version: str = "",
    relpath: str | Callable[[Any], str] | None = None,
    target_root_key: str = "default",
) -> Callable[[Callable[P, Any]], TaskMaker[P, Any]]: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "",
    relpath: str | Callable[[Any], str] | None = None,
    target_root_key: str = "default",
) -> Any:
    """Make a class of tasks of a function, sync or async, whose parameters and result are all annotated.

    `total(values=numbers(limit=4))` makes a task, it does not run. A parameter annotated `ar.Depends[T]` must be a task that loads a T;
    any other takes a value or a task that loads one. `name` is the task's (default: the function's), `version` part of its id,
    `relpath` replaces the path below the target root (a text, or a function of the task), `target_root_key` chooses the root.

    Raises `Invalid` for a function that is not fully annotated, is a generator, or names a parameter as tasks name something of theirs."""
    if function is None:
        return functools.partial(_task_class, name=name, version=version, relpath=relpath, target_root_key=target_root_key)
    return _task_class(function, name=name, version=version, relpath=relpath, target_root_key=target_root_key)


def _task_class(
    function: Callable[..., Any],
    *,
    name: str | None,
    version: str,
    relpath: str | Callable[[Any], str] | None,
    target_root_key: str,
) -> type[FunctionTask[Any]]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise Invalid(
            f"the task function {function.__name__!r} is a generator",
            hint="tasks that find out what they need while they run are classes: class X(ar.Task[T]) with a generator run()",
        )
    hints, result = _annotations(function)
    fields: dict[str, Any] = {
        parameter.name: (_field_type(hints[parameter.name]), ... if parameter.default is parameter.empty else parameter.default)
        for parameter in inspect.signature(function).parameters.values()
    }
    above = AsyncFunctionTask if inspect.iscoroutinefunction(function) else SyncFunctionTask
    body = type(
        f"_{function.__name__}_body",
        (),
        {
            "__function__": staticmethod(function),
            "__relpath__": staticmethod(relpath) if callable(relpath) else relpath,
            "__version__": version,
            "__task_name__": name or function.__name__,
            "__loads__": result,
            "target_root_key": target_root_key,
        },
    )
    made = create_model(
        function.__name__, __base__=(body, above), __module__=function.__module__, __qualname__=function.__qualname__, **fields
    )  # fmt: skip
    made.__doc__ = function.__doc__
    return made


def _annotations(function: Callable[..., Any]) -> tuple[dict[str, Any], Any]:
    """The types of the parameters, and of the result."""
    where = f"the task function {function.__name__!r}"
    hints = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise Invalid(
                f"{where} takes {parameter.name!r} as {parameter.kind.description}",
                hint="the parameters of a task have names: use ordinary ones",
            )
        if parameter.name not in hints:
            raise Invalid(
                f"{where} does not annotate its parameter {parameter.name!r}", hint="the type says how it is checked and stored"
            )
        if parameter.name in _OWN_NAMES or parameter.name.startswith("_"):
            raise Invalid(
                f"{where} may not name a parameter {parameter.name!r}", hint="tasks have something of that name; rename it"
            )
    if "return" not in hints:
        raise Invalid(f"{where} does not annotate what it returns", hint="the type says how the result is kept")
    return {key: value for key, value in hints.items() if key != "return"}, hints["return"]


def _field_type(hint: Any) -> Any:
    """The type of the field for a parameter: of `Depends[T]` a task, wherever it stands in the type; of other types also a task."""
    if _depends(hint):
        return _with_tasks(hint)
    if _is_task(hint):
        return hint
    if get_origin(hint) is Annotated:
        plain, *marks = get_args(hint)
        return _annotated(plain | _task_of(plain), marks)
    return hint | _task_of(hint) if hint is not Any else Any


def _depends(hint: Any) -> bool:
    if get_origin(hint) is Annotated and any(mark is DependsMark or isinstance(mark, DependsMark) for mark in hint.__metadata__):
        return True
    return any(_depends(one) for one in get_args(hint))


def _is_task(hint: Any) -> bool:
    """Whether the type is one of tasks already, as `TaskLoads[T]` is."""
    if get_origin(hint) is Annotated:
        return _is_task(get_args(hint)[0])
    return isinstance(hint, type) and issubclass(hint, Task)


def _with_tasks(hint: Any) -> Any:
    """The type with each `Depends[T]` in it made a task that loads T."""
    if get_origin(hint) is Annotated:
        plain, *marks = get_args(hint)
        kept = [mark for mark in marks if not isinstance(mark, DependsMark)]
        inside = _task_of(plain) if len(kept) < len(marks) else _with_tasks(plain)
        return _annotated(inside, kept) if kept else inside
    if not get_args(hint) or not _depends(hint):
        return hint
    parts = tuple(_with_tasks(one) for one in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return functools.reduce(operator.or_, parts)
    return hint.copy_with(parts) if hasattr(hint, "copy_with") else get_origin(hint)[parts]


def _task_of(plain: Any) -> Any:
    """The type of tasks that load a `plain`."""
    made: Any = TaskLoads
    return made[plain]


def _annotated(plain: Any, marks: list[Any]) -> Any:
    made: Any = Annotated
    return made[(plain, *marks)]


def _holds_task(value: Any) -> bool:
    if isinstance(value, Task):
        return True
    if isinstance(value, dict):
        return any(_holds_task(one) for one in value.values())
    return isinstance(value, list | tuple | set | frozenset) and any(_holds_task(one) for one in value)


def _loaded(value: Any) -> Any:
    """A parameter as the function gets it: tasks in it are replaced by what they load."""
    if isinstance(value, Task):
        return value.load()
    if not _holds_task(value):
        return value
    if isinstance(value, dict):
        return {key: _loaded(one) for key, one in value.items()}
    return type(value)(_loaded(one) for one in value)
