"""The two hashes of a task, and the canonical JSON they are taken of. Pure.

The *task id* is a promise about the result: it covers the fields that change what is made. The *instance hash* covers all of them. Both
are the same as Stardag's (0.1 to 0.28) for the same task, so both SDKs can share a registry and a target store.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from uuid import UUID, uuid5

from pydantic import BaseModel

TASK_NAMESPACE = UUID("9ca26b27-f7ee-4044-8b3c-e335dc5778dc")
"""Never changes: all ids hang from it."""
INSTANCE_NAMESPACE = uuid5(TASK_NAMESPACE, "stardag.instance_hash.v1")

MODE = "mode"
"""Key of the serialization context. Without it a dump is for people and for validation."""
ID, BODY, STORED = "id", "body", "stored"
"""Modes: what the id is taken of; what a registry keeps; (when validating) a body that a registry kept."""
ROOT = "root"
"""Key of the context that holds the task whose own fields are dumped in mode `ID`; every other task is only named by its id."""
ORDERED = "ordered"
"""Key of the context that holds the sets which a serializer of their own has put in order, by `id()`."""


def task_id(fields: dict[str, Any]) -> UUID:
    """The id of a task, from its dump in mode `ID`."""
    return uuid5(TASK_NAMESPACE, json.dumps(fields, separators=(",", ":"), sort_keys=True))


def canonical(body: Any) -> str:
    """The canonical JSON of a body. Raises ValueError for NaN and infinities, which are not JSON."""
    return json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)


def instance_hash(body: Any) -> UUID:
    """The hash of a whole body; nested tasks are in it as their bodies."""
    return uuid5(INSTANCE_NAMESPACE, canonical(body))


def item_key(item: Any) -> str:
    """Sorts what cannot be compared: by its JSON."""
    return json.dumps(item, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def in_order(items: list[Any]) -> list[Any]:
    """The items of a set in the one order that does not depend on the process: by value, or by JSON where values do not compare."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=item_key)


def with_sets_in_order(value: Any, dumped: Any, ordered: dict[int, Any]) -> Any:
    """`dumped`, the JSON form of `value`, with every set in it in order, however deep. Where a serializer has given a value another
    shape, what lies below it is left alone, as are models with fields of ours, which have seen to their own."""
    if getattr(type(value), "__orders_its_sets__", False):
        return dumped
    if isinstance(value, set | frozenset):
        if id(value) in ordered or not isinstance(dumped, list) or len(dumped) != len(value):
            return dumped
        return in_order([with_sets_in_order(one, part, ordered) for one, part in zip(value, dumped, strict=True)])
    if isinstance(value, list | tuple):
        if not isinstance(dumped, list) or len(dumped) != len(value):
            return dumped
        return [with_sets_in_order(one, part, ordered) for one, part in zip(value, dumped, strict=True)]
    if not isinstance(dumped, dict):
        return dumped
    if isinstance(value, dict):
        if len(dumped) != len(value):
            return dumped
        pairs = zip(value.values(), dumped.items(), strict=True)
        return {key: with_sets_in_order(one, part, ordered) for one, (key, part) in pairs}
    return {
        name: with_sets_in_order(getattr(value, name), part, ordered) if name in _field_names(value) else part
        for name, part in dumped.items()
    }


def _field_names(value: Any) -> set[str]:
    """The fields of a pydantic model or a dataclass; nothing for other values."""
    if isinstance(value, BaseModel):
        return set(type(value).model_fields)
    if dataclasses.is_dataclass(value):
        return {field.name for field in dataclasses.fields(value)}
    return set()
