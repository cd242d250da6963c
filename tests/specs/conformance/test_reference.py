"""What we serve under `/api/v2` against the reference document of Dagu 1.30, where that is at hand. It is no part of the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from astrarium.server import openapi_document
from tests.specs.conformance.compare import Comparison, Document

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "contracts" / "dagu-openapi-v2.yaml"
OPERATIONS = 67


@pytest.fixture(scope="module")
def comparison(require: Callable[[str, bool, str], None]) -> Comparison:
    require("shared", REFERENCE.is_file(), "the reference document is not beside this checkout")
    reference = yaml.safe_load(REFERENCE.read_text())
    return Comparison(Document(reference), Document(openapi_document(), "/api/v2"))


def test_every_operation_is_served(comparison: Comparison) -> None:
    assert len(list(comparison.reference.operations())) == OPERATIONS
    assert comparison.missing() == []


def test_every_operation_has_all_of_the_reference(comparison: Comparison) -> None:
    found = comparison.differences()
    width = max((len(where) for where, _ in found), default=0)
    assert not found, "\n" + "\n".join(f"{where:<{width}}  {said}" for where, said in found)


def operation(**more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}, "required": ["a"]}
    content = {"content": {"application/json": {"schema": schema}}}
    return {"operationId": "act", "parameters": [{"name": "q", "in": "query"}], "responses": {"200": content}, **more}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"operationId": "other"}, "operationId other, not act"),
        ({"parameters": []}, "no parameter q in the query"),
        ({"responses": {"201": {}}}, "no status 200"),
        ({"responses": {"200": {}}}, "nothing answered with 200"),
    ],
)
def test_a_difference_is_seen(changed: dict[str, Any], said: str) -> None:
    found = Comparison(
        Document({"paths": {"/x": {"get": operation()}}}), Document({"paths": {"/x": {"get": operation(**changed)}}})
    )
    assert found.missing() == []
    assert [one for _, one in found.differences()] == ([said] if said else [])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, "answer has no n"),
        ({"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "string"}}, "required": ["a"]},
         "answer.n is ['string'], not ['integer']"),
        ({"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}, "answer.a may be missing"),
        ({"type": "array", "items": {}}, "answer is ['array'], not ['object']"),
    ],
)  # fmt: skip
def test_a_difference_of_shapes_is_seen(schema: dict[str, Any], said: str) -> None:
    changed = operation(responses={"200": {"content": {"application/json": {"schema": schema}}}})
    found = Comparison(Document({"paths": {"/x": {"get": operation()}}}), Document({"paths": {"/x": {"get": changed}}}))
    assert [one for _, one in found.differences()] == [said]


def test_a_missing_operation_is_seen() -> None:
    assert Comparison(Document({"paths": {"/x": {"get": operation()}}}), Document({"paths": {}})).missing() == ["act"]
