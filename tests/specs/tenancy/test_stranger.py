"""Every route of workspaces, with each credential that must not open it. What is refused leaves no trace but its act."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest

from astrarium.surfaces.operation import Operation
from astrarium.surfaces.tenancy.problem import PREFIX, SDK_MISSING, UI_PREFIX
from astrarium.surfaces.tenancy.role import CAPABILITIES, OWNER, ROLES, capabilities_of
from astrarium.surfaces.tenancy.routes import environment, table
from tests.specs.tenancy.conftest import Server

BODIES: dict[str, dict[str, str]] = {
    "createWorkspace": {"name": "X", "slug": "by-stranger"}, "createInvite": {"email": "eve@example.org"},
    "updateMember": {"role": "admin"}, "createEnvironment": {"name": "X", "slug": "by-stranger"},
    "createEnvironmentKey": {"name": "x"}, "createTargetRoot": {"name": "x", "uri_prefix": "s3://x"},
}  # fmt: skip
ROUTES = [(PREFIX, one) for one in (*table.OPERATIONS, environment.OWN_ROOTS)] + [(UI_PREFIX, one) for one in table.UI_OPERATIONS]
PLACED = [(prefix, one) for prefix, one in ROUTES if "{workspace_id}" in one.path]


class Home(Server):
    """A workspace with one of each, which the tests' callers are no members of."""

    def settle(self) -> dict[str, str]:
        self.admin = self.login("admin")
        self.anna, self.eve = self.user(self.admin, "anna"), self.user(self.admin, "eve")
        workspace, place = self.team(self.anna, "annas")
        key = self.call("POST", place + "/api-keys", {"name": "ci"}, self.anna, 201)
        root = self.call("POST", place + "/target-roots", {"name": "r", "uri_prefix": "s3://r"}, self.anna, 201)
        invite = self.call("POST", workspace + "/invites", {"email": "ben@example.org"}, self.anna, 201)
        self.member_key = key["key"]
        return {
            "workspace_id": workspace.rpartition("/")[2], "environment_id": place.rpartition("/")[2], "key_id": key["id"],
            "root_id": root["id"], "invite_id": invite["id"],
            "member_id": self.call("GET", workspace + "/members", token=self.anna)[0]["id"],
        }  # fmt: skip

    def credentials(self) -> dict[str, dict[str, str]]:
        """Credentials that are none (any more)."""
        _, place = self.team(self.eve, "eves")
        made = self.call("POST", place + "/api-keys", {"name": "x"}, self.eve, 201)
        self.call("DELETE", f"{place}/api-keys/{made['id']}", token=self.eve, status=204)
        live = self.call("POST", place + "/api-keys", {"name": "x"}, self.eve, 201)["key"]
        self.stranger_key = live
        words = {
            "wrong key": live[:-1] + ("A" if live[-1] != "A" else "B"), "revoked": made["key"], "malformed key": "sk_",
            "expired": self.odd_key("admin", expires_at=1), "no token": "x.y.z",
        }  # fmt: skip
        return {"none": {}} | {name: {"authorization": f"Bearer {word}"} for name, word in words.items()}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Home(tmp_path_factory.mktemp("tenancy"), auth="builtin", admin_password="correct-horse")
    with server.client:
        server.ids = server.settle()  # type: ignore[attr-defined]
        server.bad = server.credentials()  # type: ignore[attr-defined]
        yield server


def send(home: Any, prefix: str, operation: Operation, headers: dict[str, str], **ids: str) -> Any:
    known = home.ids | ids
    path = re.sub(r"\{(\w+)\}", lambda match: known[match[1]], prefix + operation.path)
    body = BODIES.get(operation.id.removesuffix("Ui"), {"name": "X"}) if operation.body is not None else None
    return home.client.request(operation.method, path, json=body, headers=headers)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_every_route_needs_a_capability_there_is_and_a_role_that_has_it() -> None:
    for _, operation in ROUTES:
        assert operation.needs in CAPABILITIES
        assert operation.needs in capabilities_of(OWNER)
        assert (operation.place is not None) is ("{workspace_id}" in operation.path or operation.path == "/target-roots")
    writes = {one.needs for _, one in PLACED if one.method != "GET"}
    assert writes == {"workspaces:write", "workspaces:own"}
    assert all("workspaces:write" not in capabilities_of(role) for role in ROLES[1:])


def test_the_spellings_differ_in_their_prefix_only() -> None:
    pairs = zip(table.OPERATIONS, table.UI_OPERATIONS, strict=True)
    assert all((one.path, one.method, one.act, one.needs) == (two.path, two.method, two.act, two.needs) for one, two in pairs)


@pytest.mark.parametrize("kind", ["none", "wrong key", "revoked", "malformed key", "expired", "no token"])
def test_what_is_no_credential_opens_nothing(home: Any, kind: str) -> None:
    head, acts = home.head(), home.sql("SELECT count(*) FROM audit")
    words = {"expired": "API key has expired", "no token": "Invalid token: "}
    for prefix, operation in ROUTES:
        answer = send(home, prefix, operation, home.bad[kind])
        assert answer.status_code == 401, (operation.id, answer.text)
        missing = SDK_MISSING if operation.path == "/target-roots" else "Not authenticated"
        assert answer.json()["detail"].startswith(words.get(kind, "Invalid API key") if kind != "none" else missing)
        assert "Bearer" in answer.headers["www-authenticate"]
    assert (home.head(), home.sql("SELECT count(*) FROM audit")) == (head, acts)


@pytest.mark.parametrize("who", ["user", "key", "admin of the server"])
def test_a_stranger_finds_no_workspace(home: Any, who: str) -> None:
    token = {"user": home.eve, "key": home.stranger_key, "admin of the server": home.admin}[who]
    head = home.head()
    for prefix, operation in PLACED:
        answer = send(home, prefix, operation, bearer(token))
        assert (answer.status_code, answer.json()) == (404, {"detail": "Workspace not found"}), operation.id
    for prefix, operation in ROUTES:
        if "/invites/{invite_id}/" in operation.path:
            answer = send(home, prefix, operation, bearer(token))
            assert (answer.status_code, answer.json()) == (404, {"detail": "Invite not found"}), operation.id
    place = home.ids["environment_id"]
    if who != "key":
        told = "Environment does not belong to your workspace"
        home.refused(403, told, "GET", f"/target-roots?environment_id={place}", token=token)
    assert home.head() == head


def test_anothers_workspace_and_none_are_one_answer_by_the_same_queries(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = home.app.state.worker.engine.store
    asked: list[str] = []
    read = store.read

    async def noting(sql: str, args: Any = ()) -> Any:
        asked.append(sql)
        return await read(sql, args)

    monkeypatch.setattr(store, "read", noting)

    def traced(prefix: str, operation: Operation, **ids: str) -> tuple[list[str], int, str]:
        asked.clear()
        answer = send(home, prefix, operation, bearer(home.eve), **ids)
        return list(asked), answer.status_code, answer.text

    for prefix, operation in PLACED:
        theirs = traced(prefix, operation)
        assert theirs == traced(prefix, operation, workspace_id=str(uuid4())) and theirs[0], operation.id


def test_a_member_may_read_and_is_told_what_the_rest_requires(home: Any) -> None:
    head, denied = home.head(), len(home.acts("auth.denied"))
    refused = 0
    for prefix, operation in PLACED:
        answer = send(home, prefix, operation, bearer(home.member_key))
        if operation.needs == "workspaces:read":
            assert answer.status_code == 200, (operation.id, answer.text)
            continue
        role = "owner" if operation.needs == "workspaces:own" else "admin"
        assert (answer.status_code, answer.json()) == (403, {"detail": f"Requires {role} role or higher"}), operation.id
        refused += 1
    acts = home.acts("auth.denied")[denied:]
    assert home.head() == head and len(acts) == refused > 20
    assert {row[0] for row in acts} == {home.ids["workspace_id"]} and all(row[1].startswith("key:") for row in acts)


def test_a_viewer_of_the_server_makes_no_workspace(home: Any) -> None:
    viewer = home.user(home.admin, "vera", "viewer")
    head = home.head()
    answer = home.ask("POST", "/v1/workspaces", {"name": "X", "slug": "veras"}, viewer)
    assert answer.status_code == 403 and "workspaces:create" in answer.json()["detail"]
    assert home.head() == head
