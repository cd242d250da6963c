"""JSON Schemas as generators of clients need them: they take silence for nothing, and a default for a field that is always there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import NODEFAULT
from msgspec.inspect import Field, StructType, Type, multi_type_info


def schemas_of(asked: Iterable[Any], answered: Iterable[Any]) -> tuple[dict[int, Any], dict[str, Any]]:
    """What to say of each of these types, by its id, and the schemas that this refers to, by name. A request may leave out a field with a
    default; an answer does so only where its struct does."""
    bodies, answers = list(asked), list(answered)
    types = [*bodies, *answers]
    references, named = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    references, schemas = opened(references), {name: undefaulted(schema) for name, schema in opened(named).items()}
    always = dict(_always_told(multi_type_info(answers)))
    for name in always.keys() - reached(references[: len(bodies)], schemas):
        schemas[name] = {**schemas[name], "required": always[name]}
    return dict(zip(map(id, types), references, strict=True)), schemas


def opened(node: Any) -> Any:
    """Any object and any list says that anything may be in it."""
    if isinstance(node, dict):
        made = {name: opened(value) for name, value in node.items()}
        if made.get("type") == "object" and not made.keys() & {"properties", "additionalProperties"}:
            return {**made, "additionalProperties": True}
        return {**made, "items": {}} if made.get("type") == "array" and not made.keys() & {"items", "prefixItems"} else made
    return [opened(one) for one in node] if isinstance(node, list | tuple) else node


def undefaulted(node: Any) -> Any:
    """Without what is meant by a field that is left out."""
    if isinstance(node, dict):
        fields = {name: undefaulted(value) for name, value in node.get("properties", {}).items()}
        return {name: fields if name == "properties" else undefaulted(value) for name, value in node.items() if name != "default"}
    return [undefaulted(one) for one in node] if isinstance(node, list | tuple) else node


def reached(node: Any, schemas: Mapping[str, Any]) -> set[str]:
    """The schemas a part of a document refers to, and what these refer to."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            name = one.get("$ref", "").rpartition("/")[2]
            if name and name not in found:
                found.add(name)
                waiting.append(schemas[name])
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
    return found


def _always_told(types: Iterable[Any]) -> Iterator[tuple[str, list[str]]]:
    """Name of a struct that tells its defaults → the fields it always has. Structs with a tag have one field more, and are left alone."""
    seen, waiting = set[int](), list(types)
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, StructType) and one.tag is None and not one.cls.__struct_config__.omit_defaults:
            yield one.cls.__name__, [field.encode_name for field in one.fields if _has_value(field)]
        if isinstance(one, msgspec.Struct):
            values = [
                part for value in msgspec.structs.astuple(one) for part in (value if isinstance(value, tuple) else (value,))
            ]
            waiting += [value for value in values if isinstance(value, Type | Field)]


def _has_value(field: Field) -> bool:
    return field.required or field.default is not NODEFAULT or field.default_factory is not NODEFAULT
