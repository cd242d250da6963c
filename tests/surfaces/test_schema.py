"""What is made of schemas before they are told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from astrarium.surfaces.schema import opened, reached, schemas_of, undefaulted


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "object"}, {"type": "object", "additionalProperties": True}),
        ({"type": "object", "properties": {}}, {"type": "object", "properties": {}}),
        ({"type": "object", "additionalProperties": {"type": "object"}},
         {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": True}}),
        ({"anyOf": [{"type": "array"}, {"type": "null"}]}, {"anyOf": [{"type": "array", "items": {}}, {"type": "null"}]}),
        ({"type": "object", "properties": {"type": {"type": "string"}}}, {"type": "object", "properties": {"type": {"type": "string"}}}),
    ],
)  # fmt: skip
def test_an_open_object_says_so(schema: Any, told: Any) -> None:
    assert opened(schema) == told


def test_a_field_called_default_stays() -> None:
    schema = {"properties": {"default": {"type": "integer", "default": 7}, "mutation": {"type": "object", "default": {}}}}
    assert undefaulted(schema) == {"properties": {"default": {"type": "integer"}, "mutation": {"type": "object"}}}


def test_what_a_part_refers_to() -> None:
    schemas = {"A": {"properties": {"b": {"items": {"$ref": "#/x/B"}}}}, "B": {"anyOf": [{"$ref": "#/x/A"}]}, "C": {}}
    assert reached([{"$ref": "#/x/A"}], schemas) == {"A", "B"}


class Inner(msgspec.Struct):
    text: str = ""


class Both(msgspec.Struct):
    inner: Inner
    count: int = 0


class Answer(msgspec.Struct):
    both: Both
    note: str | None = None
    perhaps: int | msgspec.UnsetType = msgspec.UNSET
    many: list[str] = []


class Sparse(msgspec.Struct, omit_defaults=True):
    answer: Answer
    note: str | None = None


def test_an_answer_has_every_field_unless_it_leaves_defaults_out() -> None:
    asked, answered = Both, list[Sparse]
    known, schemas = schemas_of([asked], [answered])
    assert known[id(asked)] == {"$ref": "#/components/schemas/Both"} and known[id(answered)]["items"]["$ref"].endswith("Sparse")
    assert {name: schema["required"] for name, schema in schemas.items()} == {
        "Sparse": ["answer"],
        "Answer": ["both", "note", "many"],
        "Both": ["inner"],
        "Inner": [],
    }
    assert "default" not in str(schemas)
