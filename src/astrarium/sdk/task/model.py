"""A pydantic model whose fields may say that they do not count for the task id, or since when they do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import (  # fmt: skip
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    SerializationInfo,
    TypeAdapter,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from ...errors import Invalid
from . import identity

_UNSET = object()
T = TypeVar("T")


class Field:
    """What a field means for the id, written as `Annotated[int, ar.Field(significant=False)]`.

    `significant=False`: the field changes how the work is done, never what comes out (a number of threads). It is stored, but not part
    of the id. `compat_default`: a value under which the field is left out of the id, so that adding a field to a class keeps the ids of
    the tasks that were before it; give the value as it is after validation."""

    __slots__ = ("compat_default", "significant")

    def __init__(self, compat_default: Any = _UNSET, *, significant: bool = True) -> None:
        if compat_default is not _UNSET and not significant:
            raise Invalid(
                "a field that is not significant is never in the id: a compat_default changes nothing",
                hint="leave out compat_default, or significant=False",
            )
        self.compat_default = compat_default
        self.significant = significant

    @property
    def has_compat_default(self) -> bool:
        return self.compat_default is not _UNSET

    def counts(self, value: Any) -> bool:
        """Whether the field, having `value`, is part of the id."""
        return self.significant and not (self.has_compat_default and value == self.compat_default)


def field_option(info: FieldInfo) -> Field | None:
    """What a field says about itself; None when it is an ordinary one."""
    return next((one for one in info.metadata if isinstance(one, Field)), None)


class Model(BaseModel):
    """A pydantic model to nest in tasks when its own fields carry `ar.Field(…)`. Frozen; unknown names are an error."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        frozen=True,
        validate_default=True,
        extra="forbid",
        ignored_types=(functools.cached_property,),
    )
    __orders_its_sets__: ClassVar[bool] = True

    @model_validator(mode="before")
    @classmethod
    def _from_stored(cls, data: Any, info: ValidationInfo) -> Any:
        """A stored body may be older or newer than the class: compat defaults are filled in, names the class no longer has are left out.
        That the id is still the same is checked by who asked for it."""
        if not isinstance(data, dict) or not info.context or info.context.get(identity.MODE) != identity.STORED:
            return data
        known = {key: value for key, value in data.items() if key in cls.model_fields or key.startswith("__")}
        for name, field in cls.model_fields.items():
            option = field_option(field)
            if name not in known and option is not None and option.has_compat_default:
                known[name] = option.compat_default
        return known

    @model_serializer(mode="wrap")
    def _for_hashing(self, handler: Callable[[Any], dict[str, Any]], info: SerializationInfo) -> dict[str, Any]:
        return counted_fields(self, handler(self), info)


def counted_fields(model: BaseModel, dumped: dict[str, Any], info: SerializationInfo) -> dict[str, Any]:
    """What of a model's dump goes into an id or a body: sets in order, and for an id only the fields that count."""
    context = info.context or {}
    mode = context.get(identity.MODE)
    if mode not in (identity.ID, identity.BODY):
        return dumped
    ordered = context.setdefault(identity.ORDERED, {})
    kept = {}
    for name, part in dumped.items():
        field = type(model).model_fields.get(name)
        if field is None:
            kept[name] = part
            continue
        value = getattr(model, name)
        option = field_option(field)
        if mode == identity.ID and option is not None and not option.counts(value):
            continue
        kept[name] = identity.with_sets_in_order(value, part, ordered)
    return kept


class HashSafeSetSerializer:
    """Annotation of a `frozenset` whose items are put in order by themselves (or by `sort_key`), not by their JSON: a set of tasks goes
    by task ids."""

    def __init__(self, sort_key: Callable[[Any], Any] | None = None) -> None:
        self.sort_key = sort_key or (lambda item: item)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        schema = handler(source)
        item: TypeAdapter[Any] = TypeAdapter((get_args(source) or (Any,))[0])

        def dump(value: frozenset[Any], info: SerializationInfo) -> list[Any]:
            context = info.context or {}
            pairs = [
                (one, item.dump_python(one, mode="json" if info.mode_is_json() else "python", context=context)) for one in value
            ]
            if context.get(identity.MODE) not in (identity.ID, identity.BODY):
                return [part for _, part in pairs]
            ordered = context.setdefault(identity.ORDERED, {})
            pairs = [(one, identity.with_sets_in_order(one, part, ordered)) for one, part in pairs]
            ordered[id(value)] = value
            return [part for _, part in sorted(pairs, key=lambda pair: (self.sort_key(pair[0]), identity.item_key(pair[1])))]

        schema["serialization"] = core_schema.plain_serializer_function_ser_schema(dump, info_arg=True)  # type: ignore[index]
        return schema


if TYPE_CHECKING:
    HashableSet = Annotated[frozenset[T], HashSafeSetSerializer()]
else:

    class HashableSet:
        """`HashableSet[T]` is a frozenset whose items are dumped in order; T needs an order, as tasks, texts and numbers have one."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Annotated[frozenset[item], HashSafeSetSerializer()]
