"""Annotations of fields that hold other tasks: `TaskLoads[T]`, `Depends[T]`, `SubClass[C]`, `Polymorphic()`."""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import core_schema

from .alias import AliasTask
from .task import Task

T = TypeVar("T")


class Polymorphic:
    """Says that a field also takes tasks of subclasses. All fields of ours do; it is there so that such annotations can be kept."""


class _Loads:
    """Checks that a task's result is of the wanted type, as far as two plain classes can tell."""

    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def check(value: Any, inner: Callable[[Any], Any], info: ValidationInfo) -> Any:
            if isinstance(value, dict) and "__aliased" in value:
                made: Any = AliasTask
                return made[self.wanted].model_validate(value, context=info.context)
            task = inner(value)
            given = task.loads_type()
            if not may_be(given, self.wanted):
                raise ValueError(f"expected a task that loads {_text(self.wanted)}, {task.get_name()} loads {_text(given)}")
            return task

        return core_schema.with_info_wrap_validator_function(check, handler(source))


class DependsMark:
    """Marks a parameter of a function that must be a task."""


if TYPE_CHECKING:
    TaskLoads = Annotated[Task[T], "any task whose result is a T"]
    SubClass = Annotated[T, Polymorphic()]
    Depends = Annotated[T, DependsMark()]
else:

    class TaskLoads:
        """`TaskLoads[T]`: a field that holds any task whose result is a T."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Annotated[Task[Any], _Loads(item)]

    class SubClass:
        """`SubClass[C]`: a field that holds a task of class C or of a class derived from it."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Annotated[item, Polymorphic()]

    class Depends:
        """`Depends[T]`: a parameter of a task function that must be given as a task; the body gets what it loads."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Annotated[item, DependsMark()]


def may_be(given: Any, wanted: Any) -> bool:
    """Whether a result annotated `given` may stand where `wanted` is asked for. Only two plain classes of which neither is the other's
    kind say no; unions, protocols and whatever else cannot be compared are let through."""
    first, second = _plain(given), _plain(wanted)
    if first is None or second is None or first is object or second is object:
        return True
    numbers = (bool, int, float, complex)
    if first in numbers and second in numbers:
        return True
    try:
        return issubclass(first, second) or issubclass(second, first)
    except TypeError:
        return True


def _plain(kind: Any) -> type[Any] | None:
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if kind is None:
        return type(None)
    if kind is Any or get_origin(kind) is UnionType:
        return None
    origin = get_origin(kind) or kind
    return origin if isinstance(origin, type) and not getattr(origin, "_is_protocol", False) else None


def _text(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind)
