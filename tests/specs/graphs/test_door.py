"""Who follows a run of a graph, on a server that wants to know: by a header, a ticket in the address, or the first message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.specs.graphs.conftest import DEADLINE_S, DOCUMENTS, Server

pytestmark = [pytest.mark.net]
PASSWORD = "correct-horse-battery"


class Door:
    """A server with users, a run that waits for an answer, and two who call: one may look, the other may not."""

    def __init__(self, server: Server) -> None:
        self.server = server
        login = server.call("POST", "/api/v2/auth/login", {"username": "admin", "password": PASSWORD})
        self.token = str(login.json()["token"])
        self.signed = bearer(self.token)
        team = self.order("/api/v1/ui/workspaces", {"name": "bakers", "slug": "bakers"})
        place = f"/api/v1/ui/workspaces/{team['id']}/environments"
        first = server.call("GET", place, headers=self.signed).json()[0]["id"]
        self.weak = str(self.order(f"{place}/{first}/api-keys", {"name": "meter", "role": "metrics"})["key"])
        self.run = str(self.order("/v1/runs", {"graph_id": "graph:ask"})["run_id"])

    def order(self, path: str, body: Any) -> Any:
        answer = self.server.call("POST", path, body, headers=self.signed)
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()

    def ticket(self) -> str:
        return str(self.order("/api/v1/auth/tickets", {})["ticket"])

    def refused(self, headers: dict[str, str] | None = None, **params: str) -> int:
        with pytest.raises(InvalidStatus) as refused:
            self.server.connect(self.run, headers, **params)
        return refused.value.response.status_code


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def first_frame(socket: ClientConnection) -> str:
    return str(json.loads(socket.recv(timeout=DEADLINE_S))["type"])


def closing(socket: ClientConnection) -> tuple[int | None, str | None]:
    with pytest.raises(ConnectionClosed):
        socket.recv(timeout=DEADLINE_S)
    return socket.close_code, socket.close_reason


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    offered = {name: DOCUMENTS[name].replace("promotion:approve", "runs:respond") for name in ("ask.yaml", "bakery.py")}
    server = Server(tmp_path_factory.mktemp("door") / "data", offered, auth="builtin", admin_password=PASSWORD)
    try:
        yield Door(server)
    finally:
        server.close()


def test_a_header_opens_it(door: Door) -> None:
    with door.server.connect(door.run, door.signed) as socket:
        assert first_frame(socket) == "waiting_for_input"
    assert door.refused(bearer("nobody's")) == 401
    assert door.refused(bearer(door.weak)) == 403


def test_a_stranger_is_told_how_often_they_may_try(door: Door) -> None:
    answer = door.server.call("GET", "/v1/runs", headers=bearer("nobody's"))
    assert answer.status_code == 401 and "www-authenticate" in answer.headers
    limit, left, reset = (int(answer.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))
    assert 0 <= left < limit == 60 and reset > 0


def test_a_ticket_opens_it_once(door: Door) -> None:
    ticket = door.ticket()
    with door.server.connect(door.run, ticket=ticket) as socket:
        assert first_frame(socket) == "waiting_for_input"
    assert door.refused(ticket=ticket) == 401
    client = door.server.client
    assert client is not None
    with client.stream("GET", f"/v1/runs/{door.run}/events", params={"ticket": door.ticket()}) as answer:
        assert answer.status_code == 200
        assert "event: waiting_for_input" in answer.iter_lines()


@pytest.mark.parametrize(
    ("message", "ending"),
    [
        ({"type": "authenticate", "token": "nobody's"}, (4401, "unauthenticated")),
        ({"type": "hello"}, (4401, "unauthenticated")),
        ({"type": "authenticate", "token": "weak"}, (4403, "capability 'runs:read' not granted")),
    ],
)
def test_the_first_message_opens_it(door: Door, message: dict[str, str], ending: tuple[int, str]) -> None:
    with door.server.connect(door.run) as socket:
        socket.send(json.dumps({"type": "authenticate", "token": door.token}))
        assert first_frame(socket) == "waiting_for_input"
    if message.get("token") == "weak":
        message = {**message, "token": door.weak}
    with door.server.connect(door.run) as socket:
        socket.send(json.dumps(message))
        assert closing(socket) == ending


def test_from_now_on(door: Door) -> None:
    """Runs last: it answers what the run asks."""
    params = {"from": "live"}
    with door.server.connect(door.run, door.signed, **params) as socket:
        answer = {"response": {"decision": "no"}}
        assert door.server.call("POST", f"/v1/runs/{door.run}/respond", answer, headers=door.signed).status_code == 200
        frames = [json.loads(text) for text in socket]
    assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1)) and frames[-1]["type"] == "result"
    with door.server.connect(door.run, door.signed, **params) as socket:
        assert closing(socket) == (1000, "run finished"), "what is over tells nothing new"
