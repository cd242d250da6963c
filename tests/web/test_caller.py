"""Everybody is the local owner, but a presented credential must be valid; the server may hand in another way."""

from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from astrarium.errors import Unauthenticated
from astrarium.kernel.types import Actor, Scope
from astrarium.web.app import create_app
from astrarium.web.caller import LOCAL_OWNER, Caller, caller_of, credential_of
from astrarium.web.problems import Shapes


def _client() -> TestClient:
    app = create_app(version="1", shapes=Shapes(), body_max_bytes=1000)

    async def who(request: Request) -> JSONResponse:
        caller = await caller_of(request)
        assert await caller_of(request) is caller
        return JSONResponse({"actor": str(caller.actor), "workspace": caller.scope.workspace})

    app.add_route("/who", who, methods=["GET"])
    return TestClient(app)


def test_without_a_credential_it_is_the_local_owner() -> None:
    assert _client().get("/who").json() == {"actor": str(LOCAL_OWNER.actor), "workspace": "personal"}


@pytest.mark.parametrize("headers", [{"X-API-Key": "sk_1"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}])
def test_a_credential_that_is_not_valid_is_refused(headers: dict[str, str]) -> None:
    answer = _client().get("/who", headers=headers)
    assert answer.status_code == 401
    assert "no sign-in" in answer.json()["detail"]


def test_the_server_may_hand_in_how_to_authenticate() -> None:
    async def authenticate(credential: str) -> Caller:
        if credential != "sk_good":
            raise Unauthenticated("who are you?")
        return Caller(Actor("key", "1"), Scope("acme", "prod"))

    client = _client()
    client.app.state.authenticate = authenticate  # type: ignore[attr-defined]
    assert client.get("/who", headers={"Authorization": "ApiKey sk_good"}).json() == {"actor": "key:1", "workspace": "acme"}
    assert client.get("/who").status_code == 401


@pytest.mark.parametrize(("headers", "credential"), [
    ({}, ""), ({"x-api-key": " k "}, "k"), ({"authorization": "bearer t"}, "t"), ({"authorization": "ApiKey t"}, "t"),
    ({"authorization": "Basic YTpi"}, "Basic YTpi"), ({"authorization": "Bearer"}, "Bearer"), ({"authorization": "  "}, ""),
])  # fmt: skip
def test_where_a_credential_stands(headers: dict[str, str], credential: str) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert credential_of(HTTPConnection({"type": "http", "headers": raw}).headers) == credential
