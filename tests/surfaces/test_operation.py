"""Routes as a table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from astrarium.config import Settings
from astrarium.errors import Forbidden, NotFound, Refused, Unavailable
from astrarium.kernel.types import Actor
from astrarium.server import create_app as create_server
from astrarium.server import openapi_document
from astrarium.surfaces.gate import Decision, Gate
from astrarium.surfaces.operation import Operation, Socket, describe, mount, mount_sockets, operations_of, read_body
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
    mounted = operations_of(create_server(Settings()))
    assert sorted(ids) == sorted(operation.id for operation in mounted.values()) and len(ids) == len(set(ids))
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
        mount(
            app, "", [changing, *(Operation(method, path, id_, "", self.act, needs=needs) for method, path, id_, needs in rows)]
        )
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


class Ear:
    """Keeps what the gate tells of requests that were let in."""

    def __init__(self) -> None:
        self.heard: list[Decision] = []
        self.full = False

    def check(self) -> None:
        if self.full:
            raise Unavailable("nothing can be recorded")

    def note(self, decision: Decision) -> None:
        self.heard.append(decision)


def test_who_was_let_in_is_told_where_the_gate_says_so() -> None:
    door, ear = Door("x", "r"), Ear()
    app = door.client.app
    app.state.gate = Gate(door.denied, door.acted, frozenset(("r",)), {}, ear, ("/a",))  # type: ignore[attr-defined]
    door.client.get("/a/1", headers={"x-request-id": "one"})
    door.client.put("/r")
    door.client.get("/b")
    assert ear.heard == [Decision(door.caller, "x", "getA", "GET", "/a/1", 200, "one")]
    app.state.gate = Gate(door.denied, door.acted, frozenset(("r",)), {}, ear, ("/",))  # type: ignore[attr-defined]
    door.status = 409
    assert door.client.put("/r").status_code == 409
    assert [(one.operation, one.status) for one in ear.heard] == [("getA", 200), ("putR", 409)]
    assert door.told == [("key:1", "putR", "/r")], "of the first one"
    ear.full = True
    assert door.client.get("/a/1").status_code == 503 and door.entered == 4, "nobody is let in unseen"


@pytest.mark.parametrize(("error", "status"), [(Refused("no"), 409), (NotFound("no"), 404), (KeyError("no"), 500)])
def test_how_it_went_wrong_is_told_too(error: Exception, status: int) -> None:
    door, ear = Door("x"), Ear()

    async def fail(request: Request) -> Response:
        raise error

    app: Any = door.client.app
    app.state.gate = Gate(door.denied, door.acted, allowed=ear, allowed_under=("/",))
    mount(app, "", [Operation("GET", "/f", "getF", "", fail, needs="x")])
    answer = TestClient(app, raise_server_exceptions=False).get("/f")
    assert answer.status_code == status == ear.heard[0].status


async def hello(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    if await socket.receive_text() != "bye":
        raise Forbidden("say bye")
    await socket.close()


@pytest.mark.parametrize("capabilities", [("x",), ("y",)])
def test_a_socket_is_behind_the_same_gate(capabilities: tuple[str, ...]) -> None:
    door, ear = Door(*capabilities), Ear()
    app: Any = door.client.app
    app.state.gate = Gate(door.denied, door.acted, allowed=ear, allowed_under=("/",))
    mount_sockets(app, "/s", [Socket("/{id}", "streamS", "", hello, "x")])
    if capabilities == ("y",):
        with pytest.raises(WebSocketDenialResponse) as denied, door.client.websocket_connect("/s/1"):
            pass
        assert denied.value.status_code == 403 and "needs the capability x" in denied.value.json()["detail"]
        assert door.told == [("key:1", "x", "streamS", "/s/1")] and not ear.heard
        return
    for said, code, reason in (("bye", 1000, ""), ("go away", 4403, "say bye")):
        with door.client.websocket_connect("/s/1") as socket:
            assert socket.receive_text() == "hello"
            socket.send_text(said)
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_text()
            assert (closed.value.code, closed.value.reason) == (code, reason)
    assert [(one.operation, one.status) for one in ear.heard] == [("streamS", 101)] * 2 and not door.told


async def read(request: Request) -> Response:
    await read_body(request, dict)
    return Response()


@pytest.mark.parametrize("depth", [10, 100_000])
def test_a_body_nested_too_deeply_is_refused(depth: int) -> None:
    app = create_app(version="1", shapes=Shapes(), body_max_bytes=10_000_000)
    mount(app, "", [Operation("POST", "/x", "postX", "", read)])
    answer = TestClient(app).post("/x", content=b'{"a":' * depth + b"1" + b"}" * depth)
    assert answer.status_code == (200 if depth < 100 else 400)
    assert depth < 100 or "nested too deeply" in answer.text
