"""The published document of the HTTP API is the one the server would serve."""

from __future__ import annotations

import json
from pathlib import Path

from astrarium.server import openapi_document

PUBLISHED = Path(__file__).parents[2] / "docs/reference/openapi.json"


def test_the_published_document_is_up_to_date() -> None:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert published == json.loads(json.dumps(openapi_document())), (
        "write it anew: astrarium openapi -o docs/reference/openapi.json"
    )


def test_operation_ids_are_unique() -> None:
    paths = openapi_document()["paths"].values()
    ids = [operation["operationId"] for path in paths for operation in path.values() if "operationId" in operation]
    assert len(ids) == len(set(ids))
