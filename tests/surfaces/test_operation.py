"""Routes as a table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from astrarium.errors import Unavailable
from astrarium.kernel.types import Actor
from astrarium.server import openapi_document
from astrarium.surfaces.dags.routes import metric, system, table
from astrarium.surfaces.operation import Gate, Operation, describe, mount
from astrarium.surfaces.tenancy.audit import route as audit_route
from astrarium.surfaces.tenancy.routes import table as workspace_table
from astrarium.web.app import create_app
from astrarium.web.caller import PERSONAL, Caller
from astrarium.web.problems import Shapes


async def act(request: Request) -> Response:
    return Response()


def test_one_method_and_path_is_registered_once() -> None:
    twice = [Operation("GET", "/a", "a", "", act), Operation("GET", "/a", "b", "", act)]
    with pytest.raises(ValueError, match="twice"):
        mount(FastAPI(), "/x", twice)


def test_the_document_has_every_operation_once_with_its_parameters() -> None:
    document = openapi_document()
    ids = [told["operationId"] for path in document["paths"].values() for told in path.values()]
    dags = len(table.OPERATIONS) + len(system.ROOT_HEALTH) + len(metric.ROOT_METRICS)
    workspaces = len(workspace_table.OPERATIONS) + len(workspace_table.UI_OPERATIONS) + 1
    assert len(ids) == len(set(ids)) == dags + workspaces + len(audit_route.OPERATIONS)
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


class Door:
    """An application with one operation that needs `x`, and what its gate was told."""

    def __init__(self, *capabilities: str, withheld: dict[str, str] | None = None, broken: bool = False) -> None:
        self.told: list[tuple[str, ...]] = []
        self.entered = 0
        self.broken = broken
        app = create_app(version="1", shapes=Shapes(), body_max_bytes=1000)
        self.status = 200
        rows = [("GET", "/a/{id}", "getA", "x"), ("GET", "/b", "getB", ""), ("PUT", "/r", "putR", "r")]
        changing = Operation("GET", "/c", "getC", "", self.act, changes=True)
        mount(app, "", [changing, *(Operation(method, path, id_, "", self.act, needs=needs) for method, path, id_, needs in rows)])
        app.state.authenticate = self.authenticate
        app.state.gate = Gate(self.denied, self.acted, frozenset(("r",)), withheld or {})
        self.caller = Caller(Actor("key", "1"), PERSONAL, "reader", frozenset(capabilities), "ci")
        self.client = TestClient(app)

    async def authenticate(self, credential: str) -> Caller:
        return self.caller

    async def act(self, request: Request) -> Response:
        self.entered += 1
        return Response("in", self.status)

    async def acted(self, caller: Caller, operation: str, path: str) -> None:
        self.told.append((str(caller.actor), operation, path))

    async def denied(self, caller: Caller, capability: str, operation: str, path: str) -> None:
        if self.broken:
            raise Unavailable("the audit log cannot be written")
        self.told.append((str(caller.actor), capability, operation, path))


def test_who_has_the_capability_passes_the_gate() -> None:
    door = Door("x")
    assert door.client.get("/a/1").text == "in" and door.client.head("/a/1").status_code == 200
    assert door.told == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_denial_is_recorded_and_nothing_entered(method: str) -> None:
    door = Door("y")
    answer = door.client.request(method, "/a/1")
    assert answer.status_code == 403
    assert door.told == [("key:1", "x", "getA", "/a/1")] and door.entered == 0
    assert door.client.get("/b").text == "in", "needs nothing"


def test_what_a_setting_takes_from_everybody_is_named() -> None:
    door = Door("x", withheld={"x": "run_dags"})
    answer = door.client.get("/a/1")
    assert answer.status_code == 403 and "run_dags" in answer.text
    assert len(door.told) == 1 and door.entered == 0


def test_a_denial_that_cannot_be_recorded_is_no_answer() -> None:
    door = Door(broken=True)
    assert door.client.get("/a/1").status_code == 503
    assert door.entered == 0


def test_what_was_done_is_recorded_where_the_gate_says_so() -> None:
    door = Door("x", "r")
    door.client.get("/a/1")
    assert door.client.put("/r").status_code == 200
    door.status = 404
    door.client.put("/r")
    assert door.told == [("key:1", "putR", "/r")]


def test_who_is_somebody_else_where_the_path_leads_is_told_in_the_words_of_the_route() -> None:
    door = Door("x")

    async def place(request: Request, caller: Caller) -> Caller:
        return msgspec.structs.replace(caller, capabilities=frozenset(request.path_params["id"]))

    placed = Operation("GET", "/p/{id}", "getP", "", door.act, needs="x", place=place, denial="Requires x")
    mount(door.client.app, "", [placed])  # type: ignore[arg-type]
    assert door.client.get("/p/yx").text == "in"
    refused = door.client.get("/p/y")
    assert (refused.status_code, refused.json(), door.entered) == (403, {"detail": "Requires x"}, 1)
    assert door.told == [("key:1", "x", "getP", "/p/y")]


def test_a_head_is_not_taken_for_a_get_that_changes_something() -> None:
    door = Door()
    refused = door.client.head("/c")
    assert (refused.status_code, refused.headers["allow"], door.entered) == (405, "GET", 0)
    assert door.client.get("/c").status_code == 200 and door.entered == 1


def test_two_schemas_of_one_name_are_a_defect() -> None:
    class Plain(msgspec.Struct):
        text: str

    other = msgspec.defstruct("Plain", [("number", int)])
    document: dict[str, Any] = {}
    describe(document, "/a", "a", [Operation("GET", "/a", "a", "", act, answer=Plain)], Plain)
    with pytest.raises(ValueError, match="'Plain'"):
        describe(document, "/b", "b", [Operation("GET", "/b", "b", "", act, answer=other)], other)
