"""Routes as a table."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from astrarium.server import openapi_document
from astrarium.surfaces.dags.routes import system, table
from astrarium.surfaces.operation import Operation, mount


async def act(request: Request) -> Response:
    return Response()


def test_one_method_and_path_is_registered_once() -> None:
    twice = [Operation("GET", "/a", "a", "", act), Operation("GET", "/a", "b", "", act)]
    with pytest.raises(ValueError, match="twice"):
        mount(FastAPI(), "/x", twice)


def test_the_document_has_every_operation_once_with_its_parameters() -> None:
    document = openapi_document()
    ids = [told["operationId"] for path in document["paths"].values() for told in path.values()]
    assert len(ids) == len(set(ids)) == len(table.OPERATIONS) + len(system.ROOT_HEALTH)
    for path, methods in document["paths"].items():
        for told in methods.values():
            named = {one["name"] for one in told["parameters"] if one["in"] == "path"}
            assert named == {part.strip("{}") for part in path.split("/") if part.startswith("{")}
            assert "default" in told["responses"]


def test_every_schema_that_is_referred_to_is_there() -> None:
    document = openapi_document()
    text = str(document)
    names = {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= document["components"]["schemas"].keys()
