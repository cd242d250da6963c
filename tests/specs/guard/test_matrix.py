"""Every route of the served document and every WebSocket, with each credential that must not open it.

Written over the route table: a route that is added is tested without a word here. What is refused changes nothing but the audit log
of denials.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from astrarium.kernel.types import Scope
from astrarium.surfaces.operation import Operation, operations_of, sockets_of
from astrarium.surfaces.tenancy.role import CAPABILITIES, OWNER, capabilities_in, capabilities_of
from tests.specs.guard.home import NOBODY, PARAM, PARAM_SHORT, Home, bearer, make_home, plain_paths

OPEN = {
    "getHealthStatus": "tells whether the server works, to whoever watches it",
    "getRootHealth": "the same without the prefix",
    "getMetrics": "open or not as the setting `metrics` says, so the gate is asked within",
    "getRootMetrics": "the same without the prefix",
    "login": "gives a credential to one who has none yet",
    "triggerWebhook": "has a token of its own, which opens nothing else",
    "getSignInWays": "tells a client how to get a credential",
    "getSignInWaysBare": "the same without the prefix",
    "exchangeToken": "takes a credential of the provider and gives one of ours",
    "exchangeTokenBare": "the same without the prefix",
    "getSigningKeys": "public keys",
    "getSigningKeysBare": "the same without the prefix",
    "signIn": "gives a credential to one who has none yet",
    "beginSignIn": "sends a browser to the provider",
    "finishSignIn": "where the provider sends it back",
    "signOut": "ends what is shown to it",
    "showSetUp": "a page that tells nothing",
    "setUp": "wants the token of a set-up link",
    "makeToken": "wants a refresh token or an API key in its body",
    "getRegistryVersion": "clients ask for it before they sign in",
}
"""Operations that need no capability → why."""
OPEN_PATHS = {"/openapi.json": "describes the server and shows nothing of what it keeps"}
"""Routes that are no operations → why."""
BY_NAME = {"acquireTaskLock": "a lock of one's own, by any name", "setConcurrencyLimit": "a limit of one's own, by any key",
           "listRegistry": "what is installed, which is nobody's"}  # fmt: skip
"""Operations whose path names something that is made where it is not there → what."""
CHANGING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)?")
GATED_WITHIN = frozenset(("getMetrics", "getRootMetrics"))
ENDLESS = "text/event-stream"
"""Answers that never end; that they tell of the caller's workspace only is tested with the streams."""
KINDS = ("none", "basic", "wrong key", "revoked key", "malformed key", "expired key", "expired token", "malformed token")
REFUSING_CODES = (1008, 4401, 4403)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    server = make_home(tmp_path_factory.mktemp("matrix"))
    with server.client:
        server.settle()
        yield server


@pytest.fixture(scope="module")
def bad(home: Home) -> dict[str, dict[str, str]]:
    return home.bad_credentials()


def gated(home: Home) -> list[tuple[str, Operation]]:
    return [(path, operation) for path, operation in home.operations() if operation.needs or operation.id in GATED_WITHIN]


def wrong(operation: Operation, answer: Any) -> str:
    return f"{operation.id}: {answer.status_code} {answer.text[:300]}"


# -- the table ---------------------------------------------------------------------------------------------------------


def test_every_operation_needs_a_capability_there_is_or_says_why_not(home: Home) -> None:
    for path, operation in home.operations():
        assert operation.needs in CAPABILITIES or operation.id in OPEN, f"{operation.method} {path} is open to everybody"
        assert not (operation.needs and operation.id in OPEN), f"{operation.id} is not open"
    known = {operation.id for _, operation in home.operations()}
    assert set(OPEN) <= known, "an open route that is gone"


def test_every_route_is_an_operation_of_the_document_or_says_why_not(home: Home) -> None:
    served = {(method, path) for method, path in plain_paths(home.app) if path not in OPEN_PATHS}
    assert served == set(operations_of(home.app)), "a route without an operation is without a gate"
    told = {(method.upper(), path) for path, methods in home.document["paths"].items() for method in methods}
    assert told == {(method, PARAM_SHORT.sub(r"{\1}", path)) for method, path in operations_of(home.app)}


def test_every_socket_needs_a_capability_there_is(home: Home) -> None:
    known = sockets_of(home.app)
    assert set(home.sockets()) == set(known), "a socket without a row is without a gate"
    assert all(socket.needs in CAPABILITIES for socket in known.values())


def test_there_is_one_of_each_thing_a_path_may_name(home: Home) -> None:
    for path in (*(path for path, _ in home.operations()), *home.sockets()):
        for before, name in PARAM.findall(path):
            try:
                assert home.noun(before, name).there
            except KeyError:
                pytest.fail(f"add what {{{name}}} of {path} may be to Home.nouns in tests/specs/guard/home.py")


# -- credentials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_credential_opens_nothing(home: Home, bad: dict[str, dict[str, str]], kind: str) -> None:
    kept, acts = home.kept(), home.audited(but="auth.refused")
    for path, operation in gated(home):
        answer = home.send(operation, path, bad[kind])
        assert answer.status_code == 401, wrong(operation, answer)
        assert answer.headers["www-authenticate"], operation.id
    assert (home.kept(), home.audited(but="auth.refused")) == (kept, acts)


def test_an_open_route_does_not_fail_and_changes_nothing_for_one_without_a_credential(home: Home) -> None:
    kept = home.kept()
    for path, operation in home.operations():
        if operation.id in OPEN:
            answer = home.send(operation, path, {})
            assert answer.status_code < 500, wrong(operation, answer)
    assert home.kept() == kept


def test_who_lacks_the_capability_is_refused_and_it_is_recorded(home: Home) -> None:
    keys: dict[tuple[str, Scope], str] = {}
    kept = None
    for path, operation in gated(home):
        needs = operation.needs or "metrics:read"
        scope = home.annas if "{workspace_id}" in path else Scope("personal", "local")
        for role in {home.lacking(needs), NOBODY}:
            if (role, scope) not in keys:
                keys[role, scope] = home.odd_key(role, scope)
                kept = None
            kept = kept or home.kept()
            acts, others = len(home.acts("auth.denied")), home.audited()
            answer = home.send(operation, path, bearer(keys[role, scope]))
            assert answer.status_code == 403, f"{role}: {wrong(operation, answer)}"
            assert needs in answer.text or (operation.denial and operation.denial in answer.text), wrong(operation, answer)
            denied = home.acts("auth.denied")
            told = "getMetrics" if operation.id in GATED_WITHIN else operation.id
            assert len(denied) == acts + 1 and denied[-1][2] == f"operation:{told}", operation.id
            assert home.audited() == others
    assert home.kept() == kept


# -- another's workspace -----------------------------------------------------------------------------------------------


def traced(home: Home, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the store from now on, as SQL without its values."""
    store, asked = home.app.state.worker.engine.store, []
    read = store.read

    async def noting(sql: str, args: Any = ()) -> Any:
        asked.append(sql)
        return await read(sql, args)

    monkeypatch.setattr(store, "read", noting)
    return asked


def test_what_is_anothers_and_what_does_not_exist_are_one_answer_by_the_same_queries(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stranger owns a workspace of their own, and is asked about things of another. Looked at three times before it counts:
    the server reads for itself as well."""
    kept, others = home.kept(), home.audited()
    asked = traced(home, monkeypatch)
    assert capabilities_in("eves", OWNER) < capabilities_of(OWNER)

    def ask(path: str, operation: Operation, there: bool) -> tuple[Any, ...]:
        asked.clear()
        answer = home.send(operation, path, bearer(home.stranger), there=there)
        text = answer.text
        for noun in home.nouns.values():
            text = text.replace(noun.there, "…").replace(noun.absent, "…")
        return answer.status_code, CHANGING.sub("…", text), list(asked)

    for path, operation in gated(home):
        if "{" not in path or operation.id in BY_NAME:
            continue
        for _ in range(3):
            theirs, nobodys = ask(path, operation, True), ask(path, operation, False)
            if theirs == nobodys:
                break
        assert theirs == nobodys, operation.id
        found = operation.answer is not None and operation.method == "GET" and theirs[0] == 200  # a list of what is theirs
        assert found or theirs[0] in (403, 404, 409, 422), (operation.id, theirs)
    assert (home.kept(), home.audited()) == (kept, others)


def test_another_s_environment_opens_to_nobody(home: Home) -> None:
    """Clients of the build registry know 403 for another's environment and 404 for none (their contract), so these two differ."""
    kept, others = home.kept(), home.audited()
    named = [(path, one) for path, one in gated(home) if any(query.name == "environment_id" for query in one.query)]
    for path, operation in named:
        for there, status in ((True, 403), (False, 404)):
            answer = home.send(operation, path, bearer(home.eve), there=there)
            assert answer.status_code == status and "nvironment" in answer.text, wrong(operation, answer)
    assert named and (home.kept(), home.audited()) == (kept, others)


def test_lists_show_nothing_of_another(home: Home) -> None:
    _, place = home.team(home.eve, "eves-quiet")
    quiet = home.odd_key("owner", Scope(place.split("/")[2], place.rpartition("/")[2]))
    kept, others = home.kept(), home.audited()
    for path, operation in gated(home):
        if "{" in path or operation.method != "GET" or operation.media == ENDLESS:
            continue
        answer = home.send(operation, path, bearer(quiet))
        assert answer.status_code in (200, 403, 404), wrong(operation, answer)
        for noun in home.nouns.values():
            assert noun.there not in answer.text, wrong(operation, answer)
    assert (home.kept(), home.audited()) == (kept, others)


# -- WebSockets --------------------------------------------------------------------------------------------------------


def refusal(home: Home, path: str, headers: dict[str, str]) -> int:
    """The status a socket is denied with, or the code it is closed with. One that lets its client show who they are in a first frame
    is shown the same there."""
    try:
        with home.client.websocket_connect(path, headers=headers) as socket:
            socket.send_json({"type": "auth", "token": headers.get("authorization", "").removeprefix("Bearer ")})
            while True:
                message = socket.receive()
                if message["type"] == "websocket.close":
                    return int(message["code"])
                assert message["type"] == "websocket.accept", f"{path} told a stranger {message}"
    except WebSocketDenialResponse as denied:
        return denied.status_code
    except WebSocketDisconnect as closed:
        return closed.code


def test_a_socket_opens_for_nobody_it_is_not_for(home: Home, bad: dict[str, dict[str, str]]) -> None:
    kept = home.kept()
    for template in home.sockets():
        path = home.path(template, there=True)
        for kind in KINDS:
            assert refusal(home, path, bad[kind]) in (401, 4401), (template, kind)
        theirs = refusal(home, path, bearer(home.stranger))
        assert theirs in (403, 404, *REFUSING_CODES), template
        assert refusal(home, home.path(template, there=False), bearer(home.stranger)) == theirs, template
    assert home.kept() == kept
