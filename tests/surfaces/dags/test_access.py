"""Users, keys, webhooks and the gate over the whole table of routes, in a server within this process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astrarium.spec.ids import uuid7
from astrarium.surfaces.dags.routes import table
from astrarium.surfaces.operation import Operation
from astrarium.surfaces.tenancy.role import CAPABILITIES
from astrarium.surfaces.tenancy.token import Session
from tests.specs.tenancy.conftest import Server as AppServer

PUBLIC = {"getHealthStatus", "login", "triggerWebhook", "getMetrics"}
"""Operations without a capability: what watches the server, and what brings its own secret."""
PASSWORD = "correct-horse"
HELLO = "steps:\n  - name: a\n    command: echo hi\n"
SECURED = [operation for operation in table.OPERATIONS if operation.needs]


class Server(AppServer):
    """A server of DAGs and what tests ask of it."""

    def call(self, method: str, path: str, body: Any = None, token: str = "", **headers: str) -> Any:
        if token:
            headers["authorization"] = f"Bearer {token}"
        return self.client.request(method, "/api/v2" + path, json=body, headers=headers)

    def login(self, name: str, password: str = PASSWORD) -> str:
        answer = self.call("POST", "/auth/login", {"username": name, "password": password})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def key(self, token: str, role: str, **more: str) -> tuple[str, str]:
        answer = self.call("POST", "/api-keys", {"name": uuid7(), "role": role, **more}, token)
        assert answer.status_code == 201, answer.text
        return answer.json()["apiKey"]["id"], answer.json()["key"]

    def head(self) -> Any:
        """Everything but acts and notes of use."""
        return self.sql("SELECT count(*) FROM events WHERE stream NOT LIKE 'audit:%' AND type <> 'EntryTouched'")

    def acts(self) -> list[tuple[Any, ...]]:
        return self.sql("SELECT actor, act, subject, detail FROM audit ORDER BY number")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("access"), auth="builtin", admin_password=PASSWORD) as server:
        (server.folder / "dags" / "hello.yaml").write_text(HELLO)
        yield server


@pytest.fixture(scope="module")
def admin(server: Server) -> str:
    return server.login("admin")


def path_of(operation: Operation) -> str:
    return re.sub(r"\{\w+(:\w+)?\}", "x", operation.path)


# -- the gate ----------------------------------------------------------------------------------------------------------


def test_every_operation_needs_a_capability_or_is_known_to_be_public() -> None:
    open_ = {operation.id for operation in table.OPERATIONS if not operation.needs}
    assert open_ <= PUBLIC
    assert {operation.needs for operation in SECURED} <= CAPABILITIES


@pytest.fixture(scope="module")
def bad_credentials(server: Server, admin: str) -> dict[str, dict[str, str]]:
    tenancy = server.app.state.tenancy
    id_, revoked = server.key(admin, "admin")
    assert server.call("GET", "/users", token=revoked).status_code == 200
    assert server.call("DELETE", f"/api-keys/{id_}", token=admin).status_code == 204
    user = server.call("GET", "/auth/me", token=admin).json()["user"]["id"]
    ended = tenancy.ring.sign(Session(user, "personal", 0, 1_000_000), 0)
    return {
        "none": {},
        "malformed": {"authorization": "Bearer nonsense"},
        "no scheme": {"authorization": "nonsense"},
        "basic": {"authorization": "Basic OnB3"},
        "forged": {"authorization": f"Bearer {admin[:-4]}AAAA"},
        "ended": {"authorization": f"Bearer {ended}"},
        "revoked": {"x-api-key": revoked},
        "expired": {"x-api-key": server.odd_key("admin", expires_at=1)},
        "webhook's": {"authorization": "Bearer dagu_wh_x"},
    }


@pytest.mark.parametrize("operation", SECURED, ids=lambda operation: operation.id)
def test_no_operation_answers_without_a_valid_credential(
    server: Server, bad_credentials: dict[str, dict[str, str]], operation: Operation
) -> None:
    head, acts = server.head(), server.acts()
    for name, headers in bad_credentials.items():
        answer = server.client.request(operation.method, "/api/v2" + path_of(operation), headers=headers, json={})
        assert answer.status_code == 401, (name, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer"), name
        code = "auth.unauthorized" if name == "none" else "auth.token_invalid"
        assert answer.json()["code"] == code, name
    assert server.head() == head and server.acts() == acts


@pytest.fixture(scope="module")
def weak(server: Server) -> str:
    """A key of a role that has no capability at all."""
    return server.odd_key("nothing")


@pytest.mark.parametrize("operation", SECURED, ids=lambda operation: operation.id)
def test_no_operation_answers_a_role_without_its_capability(server: Server, weak: str, operation: Operation) -> None:
    head, acts = server.head(), server.acts()
    answer = server.call(operation.method, path_of(operation), {}, weak)
    assert answer.status_code == 403, answer.text
    assert answer.json()["code"] == "forbidden" and operation.needs in answer.json()["message"]
    assert server.head() == head
    new = server.acts()[len(acts) :]
    assert [(act, subject) for _, act, subject, _ in new] == [("auth.denied", f"operation:{operation.id}")]
    assert json.loads(new[0][3])["needs"] == operation.needs and weak not in str(new)


@pytest.mark.parametrize(("role", "method", "path", "status"), [
    ("viewer", "GET", "/dags", 200), ("viewer", "GET", "/dag-runs", 200), ("viewer", "POST", "/dags/nope/start", 403),
    ("viewer", "POST", "/dags", 403), ("viewer", "GET", "/auth/me", 200), ("operator", "POST", "/dags/nope/start", 404),
    ("operator", "DELETE", "/dags/nope", 403), ("manager", "DELETE", "/dags/nope", 404), ("manager", "GET", "/users", 403),
    ("admin", "GET", "/users", 200), ("admin", "DELETE", "/dags/nope", 404),
])  # fmt: skip
def test_what_each_role_may_do(server: Server, admin: str, role: str, method: str, path: str, status: int) -> None:
    _, key = server.key(admin, role)
    for headers in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}, {"authorization": f"ApiKey {key}"}):
        assert server.client.request(method, "/api/v2" + path, headers=headers).status_code == status


def test_what_is_public(server: Server) -> None:
    assert server.call("GET", "/health").status_code == server.client.get("/health").status_code == 200
    assert server.call("POST", "/auth/login", {"username": "admin", "password": "x"}).status_code == 401
    assert server.call("POST", "/auth/login", {"username": "admin"}).status_code == 400
    assert server.call("GET", "/nope").status_code == 404


def test_a_page_of_a_foreign_origin_is_refused_and_any_name_is_ours(server: Server, admin: str) -> None:
    for host in ("127.0.0.1", "dags.example"):
        for origin, status in (
            ("", 200),
            (f"http://{host}", 200),
            ("http://evil.example", 403),
            ("null", 403),
            ("http://[", 403),
        ):
            headers = {"host": host, **({"origin": origin} if origin else {})}
            assert server.call("GET", "/dags", token=admin, **headers).status_code == status, (host, origin)


def test_changes_of_dag_files_are_recorded(server: Server, admin: str) -> None:
    before = server.acts()
    assert server.call("POST", "/dags", {"name": "made"}, admin).status_code == 201
    assert server.call("POST", "/dags", {"name": "made"}, admin).status_code == 409
    assert server.call("DELETE", "/dags/made", token=admin).status_code == 204
    me = server.call("GET", "/auth/me", token=admin).json()["user"]["id"]
    told = [(actor, act, subject) for actor, act, subject, _ in server.acts()[len(before) :] if act.startswith("api.")]
    assert told == [
        (f"user:{me}", "api.createNewDAG", "/api/v2/dags"), (f"user:{me}", "api.deleteDAG", "/api/v2/dags/made"),
    ]  # fmt: skip


# -- users -------------------------------------------------------------------------------------------------------------


def test_a_user_from_first_to_last(server: Server, admin: str) -> None:
    made = server.call("POST", "/users", {"username": "bob", "password": PASSWORD, "role": "viewer"}, admin)
    assert made.status_code == 201
    user = made.json()["user"]
    assert set(user) == {"id", "username", "role", "createdAt", "updatedAt"} and user["createdAt"] == user["updatedAt"]
    assert server.call("GET", f"/users/{user['id']}", token=admin).json() == made.json()
    assert user in server.call("GET", "/users", token=admin).json()["users"]
    taken = server.call("POST", "/users", {"username": "bob", "password": PASSWORD, "role": "viewer"}, admin)
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    assert server.call("PATCH", f"/users/{user['id']}", {"username": "admin"}, admin).status_code == 409
    changed = server.call("PATCH", f"/users/{user['id']}", {"username": "rob", "role": "manager"}, admin).json()["user"]
    assert (changed["username"], changed["role"]) == ("rob", "manager") and changed["updatedAt"] > user["updatedAt"]
    token = server.login("rob")
    assert server.call("GET", "/auth/me", token=token).json()["user"] == changed
    wrong = server.call("POST", "/auth/change-password", {"currentPassword": "nope", "newPassword": "another-one"}, token)
    assert (wrong.status_code, wrong.json()["code"]) == (401, "auth.unauthorized")
    weak = server.call("POST", "/auth/change-password", {"currentPassword": PASSWORD, "newPassword": "short"}, token)
    assert (weak.status_code, weak.json()["details"]["problems"][0]["path"]) == (400, "newPassword")
    good = server.call("POST", "/auth/change-password", {"currentPassword": PASSWORD, "newPassword": "another-one"}, token)
    assert good.status_code == 200 and good.json()["message"]
    assert server.call("GET", "/auth/me", token=token).status_code == 401
    server.login("rob", "another-one")
    assert server.call("POST", f"/users/{user['id']}/reset-password", {"newPassword": "short"}, admin).status_code == 400
    assert server.call("POST", f"/users/{user['id']}/reset-password", {"newPassword": PASSWORD}, admin).status_code == 200
    token = server.login("rob")
    assert server.call("DELETE", f"/users/{user['id']}", token=admin).status_code == 204
    assert server.call("GET", "/auth/me", token=token).status_code == 401
    for method, path in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/reset-password")):
        answer = server.call(method, f"/users/{user['id']}{path}", {"newPassword": PASSWORD}, admin)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_nobody_deletes_their_own_account(server: Server, admin: str) -> None:
    me = server.call("GET", "/auth/me", token=admin).json()["user"]["id"]
    assert server.call("DELETE", f"/users/{me}", token=admin).status_code == 403


@pytest.mark.parametrize("body", [
    {}, [], {"username": "a", "password": PASSWORD}, {"username": "a", "password": PASSWORD, "role": "root"},
    {"username": 5, "password": PASSWORD, "role": "viewer"}, {"username": "", "password": PASSWORD, "role": "viewer"},
    {"username": "a", "password": "short", "role": "viewer"}, {"username": "x" * 65, "password": PASSWORD, "role": "viewer"},
])  # fmt: skip
def test_bad_users_are_400(server: Server, admin: str, body: Any) -> None:
    head = server.head()
    answer = server.call("POST", "/users", body, admin)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert server.head() == head


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_from_first_to_last(server: Server, admin: str) -> None:
    body = {"name": "ci", "role": "viewer", "description": "builds", "expiresAt": "2999-01-01T00:00:00+01:00"}
    made = server.call("POST", "/api-keys", body, admin)
    assert made.status_code == 201
    key, text = made.json()["apiKey"], made.json()["key"]
    assert re.fullmatch(r"sk_[0-9a-f]{6}_[A-Za-z0-9_-]{32}", text)
    assert key["keyPrefix"] == text[:8] and key["description"] == "builds" and "lastUsedAt" not in key
    assert key["createdBy"] == server.call("GET", "/auth/me", token=admin).json()["user"]["id"]
    assert key["expiresAt"].startswith("2998-12-31T23:00:00")
    assert server.call("GET", f"/api-keys/{key['id']}", token=admin).json() == {"apiKey": key}
    assert server.call("POST", "/api-keys", body, admin).json()["code"] == "already_exists"
    me = server.call("GET", "/auth/me", token=text).json()["user"]
    assert (me["username"], me["role"]) == ("ci", "viewer")
    assert "lastUsedAt" in server.call("GET", f"/api-keys/{key['id']}", token=admin).json()["apiKey"]
    assert (
        server.call("POST", "/auth/change-password", {"currentPassword": "x", "newPassword": PASSWORD}, text).status_code == 400
    )
    assert server.call("GET", "/users", token=text).status_code == 403
    changed = server.call("PATCH", f"/api-keys/{key['id']}", {"name": "cd", "description": "", "role": "admin"}, admin).json()[
        "apiKey"
    ]
    assert (changed["name"], changed["role"]) == ("cd", "admin") and "description" not in changed
    assert server.call("GET", "/users", token=text).status_code == 200
    listed = server.call("GET", "/api-keys", token=admin).json()["apiKeys"]
    assert [one["name"] for one in listed if one["id"] == key["id"]] == ["cd"] and text not in str(listed)
    assert server.call("DELETE", f"/api-keys/{key['id']}", token=admin).status_code == 204
    assert server.call("GET", "/users", token=text).status_code == 401
    for method in ("GET", "PATCH", "DELETE"):
        assert server.call(method, f"/api-keys/{key['id']}", {}, admin).status_code == 404


@pytest.mark.parametrize("more", [
    {"name": ""}, {"name": "x" * 101}, {"role": "root"}, {"description": "x" * 501}, {"expiresAt": "tomorrow"},
    {"expiresAt": "2999-01-01T00:00:00"}, {"expiresAt": "2001-01-01T00:00:00Z"}, {"expiresAt": "0001-01-01T00:00:00+23:00"},
])  # fmt: skip
def test_bad_keys_are_400(server: Server, admin: str, more: Any) -> None:
    assert server.call("POST", "/api-keys", {"name": "bad", "role": "viewer", **more}, admin).status_code == 400


# -- webhooks ----------------------------------------------------------------------------------------------------------


def test_a_webhook_from_first_to_last(server: Server, admin: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/regenerate")):
        assert server.call(method, f"/dags/hello/webhook{path}", token=admin).status_code == 404
    assert server.call("POST", "/dags/nope/webhook", token=admin).status_code == 404
    made = server.call("POST", "/dags/hello.yaml/webhook", token=admin)
    assert made.status_code == 201
    webhook, token = made.json()["webhook"], made.json()["token"]
    assert set(webhook) == {"id", "dagName", "tokenPrefix", "enabled", "createdAt", "updatedAt", "createdBy"}
    assert webhook["dagName"] == "hello" and webhook["enabled"] and token.startswith(webhook["tokenPrefix"])
    assert server.call("POST", "/dags/hello/webhook", token=admin).status_code == 409
    called = server.call("POST", "/webhooks/hello", {"dagRunId": "w1", "payload": {"a": ['"x" $HOME `id`']}}, token)
    assert (called.status_code, called.json()) == (200, {"dagRunId": "w1", "dagName": "hello"})
    params = server.call("GET", "/dag-runs/hello/w1", token=admin).json()["dagRunDetails"]["params"]
    assert "WEBHOOK_PAYLOAD" in params and "$HOME `id`" in params
    again = server.call("POST", "/webhooks/hello", {"dagRunId": "w1"}, token)
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    empty = server.client.post("/api/v2/webhooks/hello", headers={"authorization": f"Bearer {token}"})
    assert empty.status_code == 200 and empty.json()["dagRunId"]
    shown = server.call("GET", "/dags/hello/webhook", token=admin).json()
    assert "lastUsedAt" in shown and token not in str(shown)
    assert [one["id"] for one in server.call("GET", "/webhooks", token=admin).json()["webhooks"]] == [webhook["id"]]
    assert server.call("GET", "/dags", token=token).status_code == 401, "it opens nothing else"
    renewed = server.call("POST", "/dags/hello/webhook/regenerate", token=admin).json()
    assert renewed["webhook"]["id"] == webhook["id"]
    assert server.call("POST", "/webhooks/hello", {}, token).status_code == 401
    token = renewed["token"]
    off = server.call("POST", "/dags/hello/webhook/toggle", {"enabled": False}, admin)
    assert off.status_code == 200 and off.json()["enabled"] is False
    assert server.call("POST", "/webhooks/hello", {}, token).status_code == 403
    assert server.call("POST", "/dags/hello/webhook/toggle", {}, admin).status_code == 400
    assert server.call("POST", "/dags/hello/webhook/toggle", {"enabled": True}, admin).json()["enabled"] is True
    assert server.call("POST", "/webhooks/hello.yaml", {}, token).status_code == 200
    assert server.call("DELETE", "/dags/hello/webhook", token=admin).status_code == 204
    assert server.call("POST", "/webhooks/hello", {}, token).status_code == 404


def test_a_webhook_goes_with_its_file(server: Server, admin: str) -> None:
    (server.folder / "dags" / "gone.yaml").write_text(HELLO)
    token = server.call("POST", "/dags/gone/webhook", token=admin).json()["token"]
    assert server.call("DELETE", "/dags/gone", token=admin).status_code == 204
    assert server.call("DELETE", "/dags/hello-nobody", token=admin).status_code == 404
    (server.folder / "dags" / "gone.yaml").write_text(HELLO)
    assert server.call("POST", "/webhooks/gone", {}, token).status_code == 404
    assert server.call("POST", "/dags/gone/webhook", token=admin).status_code == 201
    assert server.call("DELETE", "/dags/gone", token=admin).status_code == 204


def test_a_webhook_calls_a_dag_whose_parameters_nobody_may_edit(server: Server, admin: str) -> None:
    (server.folder / "dags" / "fixed.yaml").write_text(f"runConfig: {{disableParamEdit: true}}\n{HELLO}")
    token = server.call("POST", "/dags/fixed/webhook", token=admin).json()["token"]
    assert server.call("POST", "/dags/fixed/start", {"params": "A=1"}, admin).status_code == 403
    called = server.call("POST", "/webhooks/fixed", {"payload": {"a": 1}}, token)
    assert called.status_code == 200, called.text


def test_what_a_webhook_refuses(server: Server, admin: str) -> None:
    (server.folder / "dags" / "hooked.yaml").write_text(HELLO)
    token = server.call("POST", "/dags/hooked/webhook", token=admin).json()["token"]
    runs = server.sql("SELECT count(*) FROM runs")
    for given, status in (("", 401), ("nonsense", 401), (admin, 401), ("dagu_wh_x", 401), (token + "x", 401), (token[:-1], 401)):
        assert server.call("POST", "/webhooks/hooked", {}, given).status_code == status, given
    assert server.call("POST", "/webhooks/nope", {}, token).status_code == 404
    headers = {"authorization": f"Bearer {token}"}
    for body, status in (
        (b"{", 400), (b"[]", 400), (b'{"payload": []}', 400), (b'{"payload": "x"}', 400), (b'{"dagRunId": "a b"}', 400),
        (b'{"dagRunId": 5}', 400), (b'{"payload": {"x": "' + b"y" * 1024 * 1024 + b'"}}', 413),
    ):  # fmt: skip
        answer = server.client.post("/api/v2/webhooks/hooked", content=body, headers=headers)
        assert answer.status_code == status and answer.json()["message"], body[:40]
    assert server.sql("SELECT count(*) FROM runs") == runs


# -- other ways to run a server ------------------------------------------------------------------------------------------


def test_an_open_server_answers_everything_and_still_looks_at_credentials(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        me = server.call("GET", "/auth/me").json()["user"]
        assert (me["id"], me["username"], me["role"]) == ("local", "local", "admin") and me["createdAt"].startswith("1970-")
        assert server.call("POST", "/users", {"username": "bob", "password": PASSWORD, "role": "viewer"}).status_code == 201
        made = server.call("POST", "/api-keys", {"name": "ci", "role": "viewer"}).json()
        assert made["apiKey"]["createdBy"] == "local"
        assert server.call("GET", "/users", token=made["key"]).status_code == 403
        assert server.call("GET", "/users", token=server.login("bob")).status_code == 403
        assert server.call("GET", "/dags", token="nonsense").status_code == 401
        assert server.call("GET", "/dags", host="dags.example").status_code == 403, (
            "an open server answers to loopback names only"
        )


def test_what_the_settings_take_from_everybody(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "hello.yaml").write_text(HELLO)
    with Server(tmp_path, write_dags=False, run_dags=False) as server:
        token = server.call("POST", "/dags/hello/webhook").json()["token"]
        head = server.head()
        for method, path, body, setting in (
            ("POST", "/dags", {"name": "x"}, "write_dags"), ("DELETE", "/dags/hello", None, "write_dags"),
            ("POST", "/dags/hello/start", {}, "run_dags"), ("POST", "/dag-runs/hello/x/stop", None, "run_dags"),
        ):  # fmt: skip
            answer = server.call(method, path, body)
            assert answer.status_code == 403 and setting in answer.json()["message"]
            assert answer.json()["code"] == "forbidden"
        assert server.call("POST", "/webhooks/hello", {}, token).status_code == 403
        assert server.call("GET", "/dags").status_code == 200
        assert server.head() == head


def test_secrets_are_in_no_file_of_the_data_folder(server: Server, admin: str) -> None:
    _, key = server.key(admin, "viewer")
    server.call("GET", "/dags", token=key)
    for path in server.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (PASSWORD, key, key[18:], admin):
                assert secret.encode() not in data, path
