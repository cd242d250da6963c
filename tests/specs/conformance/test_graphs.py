"""What we serve under `/v1` against the document of Stargraph 0.8, where that is at hand. It is no part of the project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from astrarium.server import openapi_document
from tests.specs.conformance.compare import Comparison, Document

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "contracts" / "stargraph-openapi.json"
OPERATIONS = 14
WANTED = {
    "POST /v1/runs": {202, 404, 409, 413, 422, 429, 503},
    "GET /v1/runs": {200, 422},
    "GET /v1/runs/{run_id}": {200, 404},
    "POST /v1/runs/{run_id}/cancel": {200, 404, 409},
    "POST /v1/runs/{run_id}/pause": {200, 404, 409},
    "POST /v1/runs/{run_id}/resume": {202, 404, 409, 422, 503},
    "POST /v1/runs/{run_id}/respond": {200, 403, 404, 409, 422},
    "POST /v1/runs/{run_id}/counterfactual": {200, 202, 404, 409, 422, 429, 503},
    "GET /v1/runs/{run_id}/artifacts": {200, 404},
    "GET /v1/artifacts/{artifact_id}": {200, 206, 404},
    "GET /v1/graphs": {200},
    "GET /v1/registry/{kind}": {200, 404},
}
"""Which answers of each operation the document has to tell of, beside those all have."""
ALWAYS = {401, 403, 429, 500}


def ours() -> Document:
    return Document(openapi_document())


@pytest.fixture(scope="module")
def comparison(require: Callable[[str, bool, str], None]) -> Comparison:
    require("shared", REFERENCE.is_file(), "the reference document is not beside this checkout")
    return Comparison(Document(json.loads(REFERENCE.read_text())), ours(), ids=False)


def test_every_operation_is_served_with_all_of_the_reference(comparison: Comparison) -> None:
    assert len(list(comparison.reference.operations())) == OPERATIONS
    assert comparison.missing() == []
    assert comparison.differences() == []


def test_every_refusal_of_the_reference_is_told(comparison: Comparison) -> None:
    for method, path, wanted in comparison.reference.operations():
        told = comparison.ours_by_path[method, path]["responses"]
        assert wanted["responses"].keys() <= told.keys(), f"{method} {path}"


def test_every_answer_is_told_of() -> None:
    told = {
        f"{method} {path}": {int(one) for one in found["responses"] if one.isdigit()}
        for method, path, found in ours().operations()
    }
    assert {name: (wanted | ALWAYS) - told[name] for name, wanted in WANTED.items()} == {name: set() for name in WANTED}


def test_what_every_operation_of_the_document_answers_has_a_type() -> None:
    """So that methods of generated clients return models."""
    untyped = []
    for method, path, found in ours().operations():
        for status, answer in found["responses"].items():
            schema = answer.get("content", {}).get("application/json", {}).get("schema")
            while schema is not None and schema.get("type") == "array":
                schema = schema["items"]
            if schema is not None and not schema.keys() & {"$ref", "anyOf"} and schema.get("type") in (None, "object"):
                untyped.append(f"{method} {path} {status}")
    assert untyped == []
