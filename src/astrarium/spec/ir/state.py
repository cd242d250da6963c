"""The state of a graph as fields: from `state_schema`, or from the JSON schema of a Pydantic class that was resolved elsewhere.

Only types and defaults are read here. Values are checked and merged where runs live (`runs.routing.rules`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from .document import Document, StateEntry
from .flow import Field, FieldType, Lifecycle, Reducer
from .read import Findings, at, listing

MAX_FIELDS = 1000
FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
TEMPLATE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")

_PYTHON: Mapping[str, type | tuple[type, ...]] = {
    "str": str, "int": int, "float": (int, float), "bool": bool, "bytes": str, "list": list, "dict": dict,
}  # fmt: skip
"""How a default is written. Bytes are base64 in documents, as on the wire."""
_JSON: Mapping[str, FieldType] = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict",
}  # fmt: skip
_FITTING: Mapping[str, tuple[str, ...]] = {
    "sum": ("int", "float", "any"),
    "append": ("list", "any"),
    "union": ("list", "dict", "any"),
    "max": ("str", "int", "float", "any"),
    "min": ("str", "int", "float", "any"),
    "last": ("str", "int", "float", "bool", "bytes", "list", "dict", "any"),
}


class Mirror(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an annotation of a field says about how rules see it: the name of its facts (empty = the field's), and how long they
    last. Stargraph 0.8: `Annotated[T, Mirror(template=None, lifecycle="run")]`."""

    template: str = ""
    lifecycle: str = "run"


class StateClass(msgspec.Struct, frozen=True):
    """A Pydantic class that was imported elsewhere: its JSON schema (`model_json_schema(mode="validation")`), its mirrored fields, the
    defaults its schema does not tell (of factories), a fingerprint of its source, and the folder it was found in, when that is not the
    document's own."""

    schema: dict[str, Any]
    mirrors: dict[str, Mirror] = {}
    defaults: dict[str, Any] = {}
    fingerprint: str = ""
    folder: str = ""


def read_fields(document: Document, resolved: StateClass | None, found: Findings) -> tuple[Field, ...]:
    """The state's fields in their order. `resolved` is `document.state_class`, when it names one and that could be imported."""
    if document.state_class and document.state_schema:
        said = "`state_class` and `state_schema` are both given"
        found.add("/state_class", said, expected="one of them", hint="keep the class, or declare all fields in `state_schema`")
    if resolved is not None:
        fields = _of_class(resolved, found)
    else:
        fields = tuple(_of_entry(name, entry, found) for name, entry in document.state_schema.items())
    if len(fields) > MAX_FIELDS:
        found.add("/state_schema", f"a state has at most {MAX_FIELDS} fields, this one {len(fields)}")
    _refuse_same_template(fields, found)
    return _with_reducers(fields, document, found)


def _of_entry(name: str, entry: StateEntry, found: Findings) -> Field:
    path = at("/state_schema", name)
    if not FIELD_NAME.fullmatch(name):
        found.add(
            path,
            f"`{name}` cannot be the name of a field",
            expected="letters, digits and _, not first a digit",
            actual=name,
            key=True,
        )
    kind: FieldType = entry.type or "any"  # type: ignore[assignment]  # checked when it was read; "" was told as wrong
    if entry.default is msgspec.UNSET:
        return Field(name, kind, required=True)
    wanted = _PYTHON.get(kind)
    good = wanted is None or (isinstance(entry.default, wanted) and isinstance(entry.default, bool) <= (kind == "bool"))
    if not good:
        found.add(at(path, "default"), f"the default of `{name}` is no {kind}", expected=kind, actual=entry.default)
    return Field(name, kind, default=entry.default)


def _of_class(resolved: StateClass, found: Findings) -> tuple[Field, ...]:
    properties = resolved.schema.get("properties")
    required = resolved.schema.get("required", ())
    shared = resolved.schema.get("$defs")
    fields = []
    for name, schema in (properties if isinstance(properties, dict) else {}).items():
        whole: dict[str, Any] = dict(schema) if isinstance(schema, dict) else {}
        kind, nullable = _type_of(whole, shared or {})
        mirror = resolved.mirrors.get(name, Mirror())
        lifecycle = mirror.lifecycle
        if lifecycle not in get_args(Lifecycle):
            wanted = f"one of {', '.join(get_args(Lifecycle))}"
            found.add("/state_class", f"the mirror of `{name}` has no lifecycle `{lifecycle}`", expected=wanted, actual=lifecycle)
            lifecycle = "run"
        if mirror.template and not TEMPLATE_NAME.fullmatch(mirror.template):
            found.add("/state_class", f"`{mirror.template}` cannot be the name of facts (the mirror of `{name}`)")
        fields.append(
            Field(
                name,
                kind,
                required=name in required,
                nullable=nullable,
                default=resolved.defaults.get(name, whole.get("default")),
                schema={**whole, "$defs": shared} if shared and _refers(whole) else whole,
                template="" if mirror.template == name else mirror.template,
                lifecycle=lifecycle,  # type: ignore[arg-type]  # one of the words, checked above
            )
        )
    return tuple(fields)


def _refers(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "$ref" in schema or any(_refers(value) for value in schema.values())
    return isinstance(schema, list) and any(_refers(value) for value in schema)


def _type_of(schema: Any, shared: Mapping[str, Any], depth: int = 0) -> tuple[FieldType, bool]:
    """(type, whether null is a value too) of a property's schema."""
    if not isinstance(schema, dict) or depth > 8:
        return "any", True
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _type_of(shared.get(reference.rpartition("/")[2]), shared, depth + 1)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(branches, list):
        real = [one for one in branches if not (isinstance(one, dict) and one.get("type") == "null")]
        kinds = {_type_of(one, shared, depth + 1) for one in real}
        nullable = len(real) < len(branches) or any(flag for _, flag in kinds)
        names = {kind for kind, _ in kinds}
        return (names.pop() if len(names) == 1 else "any"), nullable
    kind = schema.get("type")
    if kind == "string" and schema.get("format") in ("binary", "byte", "base64url"):
        return "bytes", False
    if isinstance(kind, str):
        return _JSON.get(kind, "any"), kind == "null"
    listed = schema.get("enum", [schema["const"]] if "const" in schema else [])
    names_of = {_name_of(value) for value in listed}
    return (names_of.pop() if len(names_of) == 1 else "any"), not listed or None in listed


def _name_of(value: Any) -> FieldType:
    if isinstance(value, bool):
        return "bool"
    for kind in ("str", "int", "float", "list", "dict"):
        if isinstance(value, _PYTHON[kind]):
            return kind
    return "any"


def _refuse_same_template(fields: tuple[Field, ...], found: Findings) -> None:
    taken: dict[str, str] = {}
    for field in fields:
        name = field.template or field.name
        if name in taken:
            found.add("/state_class", f"the fields `{taken[name]}` and `{field.name}` are both mirrored as `{name}`")
        taken[name] = field.name


def _with_reducers(fields: tuple[Field, ...], document: Document, found: Findings) -> tuple[Field, ...]:
    chosen: dict[str, Reducer] = {}
    known = {field.name: field for field in fields}
    for name, reducer in document.state_reducers.items():
        path = at("/state_reducers", name)
        field = known.get(name)
        if field is None:
            unknown_field(path, name, known, found, key=True)
        elif field.type not in _FITTING[reducer]:
            wanted = f"a field of type {' or '.join(kind for kind in _FITTING[reducer] if kind != 'any')}"
            found.add(path, f"`{reducer}` cannot merge `{name}`, which is {field.type}", expected=wanted, actual=field.type)
        else:
            chosen[name] = reducer  # type: ignore[assignment]  # one of the words, checked when it was read
    return tuple(msgspec.structs.replace(field, reducer=chosen.get(field.name, "")) for field in fields)


def unknown_field(path: str, name: str, known: Mapping[str, Any], found: Findings, *, key: bool = False) -> None:
    near = found.suggest(name, known)
    hint = listing("fields", known) if known else "declare it in `state_schema`"
    found.add(path, f"the state has no field `{name}`{near}", expected="a field of the state", actual=name, hint=hint, key=key)
