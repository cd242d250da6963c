"""Tokens for workspaces: what they are given for, what they say, where they count, and when they do not any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from astrarium.surfaces.tenancy.room import SPARE_US
from tests.specs.tenancy.conftest import PASSWORD, Server, one_after_the_other

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Servers over the folder of this test, with sign-in and an admin."""
    with one_after_the_other(tmp_path) as serving:
        yield lambda **more: serving(**{"auth": "builtin", "admin_password": PASSWORD, **more})


class Team:
    """Anna has a workspace with an environment and a key; Ben is a member, Eve is not."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.admin = server.login("admin")
        self.anna, self.ben, self.eve = (server.user(self.admin, name) for name in ("anna@x", "ben@x", "eve@x"))
        server.client.cookies.clear()
        self.path, self.at = server.team(self.anna, "team")
        self.id, self.environment = self.path.rpartition("/")[2], self.at.rpartition("/")[2]
        server.call("POST", self.path + "/invites", {"email": "ben@x"}, self.anna, 201)
        [invite] = server.call("GET", "/me/invites", token=self.ben)
        server.call("POST", f"/workspaces/invites/{invite['id']}/accept", token=self.ben)
        made = server.call("POST", self.at + "/api-keys", {"name": "ci"}, self.anna, 201)
        self.key, self.key_id, self.key_prefix = made["key"], made["id"], made["key_prefix"]
        server.call("POST", self.at + "/target-roots", {"name": "data", "uri_prefix": "s3://b"}, self.anna, 201)

    def exchange(self, token: str, status: int = 200) -> Any:
        return self.server.call("POST", "/auth/exchange", {"workspace_id": self.id, "refresh": True}, token, status)

    def sdk(self, token: str, query: str = "", status: int = 200) -> Any:
        return self.server.call("GET", f"/target-roots{query}", token=token, status=status)

    def token(self, status: int = 200, auth: Any = None, **form: str) -> Any:
        answer = self.server.client.post("/api/v1/auth/token", data=form, auth=auth)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def team(serve: Callable[..., Server]) -> Team:
    return Team(serve())


def test_a_session_is_exchanged_for_a_token_of_a_workspace(team: Team) -> None:
    given = team.exchange(team.ben)
    assert (given["token_type"], given["expires_in"]) == ("Bearer", 600)
    [key] = team.server.client.get("/.well-known/jwks.json").json()["keys"]
    assert team.server.call("GET", "/.well-known/jwks.json") == {"keys": [key]}
    header = jwt.get_unverified_header(given["access_token"])
    assert (header["alg"], header["kid"]) == ("RS256", key["kid"])
    claims = jwt.decode(given["access_token"], jwt.PyJWK(key), ["RS256"], audience="astrarium", issuer="astrarium")
    assert claims["workspace_id"] == claims["tenant_id"] == team.id and claims["user_id"] == claims["sub"]
    assert claims["roles"] == ["operator"] and "workspaces:read" in claims["permissions"] and claims["exp"] - claims["iat"] == 600
    assert claims["jti"]
    plain = team.server.call("POST", "/auth/exchange", {"workspace_id": team.id}, team.ben)
    assert set(plain) == {"access_token", "token_type", "expires_in"}, "a refresh token is for who asks for one"
    answer = team.server.client.post(
        "/auth/exchange", json={"workspace_id": team.id}, headers={"authorization": f"Bearer {team.ben}"}
    )
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"


def test_where_such_a_token_counts(team: Team) -> None:
    token, server = team.exchange(team.ben)["access_token"], team.server
    assert team.sdk(token, f"?environment_id={team.environment}")[0]["name"] == "data"
    assert "environment_id" in team.sdk(token, status=400)["detail"]
    nowhere = {"detail": "Environment not found"}
    assert team.sdk(token, "?environment_id=0190d3b0-0000-7000-8000-000000000000", 404) == nowhere
    assert team.sdk(token, "?environment_id=nonsense", 404) == nowhere
    _, other = server.team(team.ben, "bens")
    told = team.sdk(token, f"?environment_id={other.rpartition('/')[2]}", 403)
    assert told == {"detail": "Environment does not belong to your workspace"}, "though Ben is in it"
    assert team.sdk(team.ben, f"?environment_id={other.rpartition('/')[2]}") == [], "his session is not bound to one"
    assert team.sdk(team.key)[0] == team.sdk(team.key, f"?environment_id={other}")[0]
    server.call("GET", team.path, token=token)
    server.refused(403, "Requires admin role or higher", "PATCH", team.path, {"name": "x"}, token)
    assert server.call("GET", "/ui/me", token=token)["user"]["email"] == "ben@x"
    assert server.ask("GET", "/v2/dags", token=token).status_code == 403
    assert "Unable to find key" in team.exchange(token, 401)["detail"]


def test_who_is_given_none(team: Team) -> None:
    assert team.exchange(team.eve, 403) == {"detail": "Not a member of the requested workspace"}
    nobody = "0190d3b0-0000-7000-8000-000000000000"
    told = team.server.call("POST", "/auth/exchange", {"workspace_id": nobody}, team.eve, 403)
    assert told == {"detail": "Not a member of the requested workspace"}
    assert len(team.server.acts("auth.exchange_refused")) == 2
    assert team.server.call("POST", "/auth/exchange", {"workspace_id": team.id}, status=401) == {"detail": "Not authenticated"}
    for body in ({}, {"workspace_id": "x"}, {"workspace_id": 5}):
        team.server.call("POST", "/auth/exchange", body, team.anna, 422)
    team.exchange(team.key, 403)


def test_a_credential_in_the_header_of_keys_is_a_key(team: Team) -> None:
    missing = "Authentication required. Provide X-API-Key header or Bearer token."
    assert team.sdk("", status=401) == {"detail": missing}
    answer = team.server.client.get("/api/v1/target-roots", headers={"x-api-key": "nonsense"})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid API key"})
    token = team.exchange(team.ben)["access_token"]
    headers = {"x-api-key": team.key, "authorization": f"Bearer {token}"}
    assert team.server.client.get("/api/v1/target-roots", headers=headers).status_code == 200, "the key wins"


@pytest.mark.parametrize("end", ["removed", "deleted", "password"])
def test_a_token_ends_with_its_holder(team: Team, end: str) -> None:
    server, given = team.server, team.exchange(team.ben)
    token, where = given["access_token"], f"?environment_id={team.environment}"
    team.sdk(token, where)
    if end == "removed":
        [member] = [one for one in server.call("GET", team.path + "/members", token=team.anna) if one["email"] == "ben@x"]
        server.call("DELETE", f"{team.path}/members/{member['id']}", token=team.anna, status=204)
    else:
        users = server.call("GET", "/v2/users", token=team.admin)["users"]
        [ben] = [one["id"] for one in users if one["username"] == "ben@x"]
        if end == "deleted":
            server.call("DELETE", f"/v2/users/{ben}", token=team.admin, status=204)
        else:
            server.call("POST", f"/v2/users/{ben}/reset-password", {"newPassword": "another-one"}, team.admin)
    assert team.sdk(token, where, 401)["detail"].startswith("Invalid token")
    assert team.token(400, grant_type="refresh_token", refresh_token=given["refresh_token"])["error"] == "invalid_grant"


def test_the_role_is_the_one_of_now(team: Team) -> None:
    token, server = team.exchange(team.ben)["access_token"], team.server
    [member] = [one for one in server.call("GET", team.path + "/members", token=team.anna) if one["email"] == "ben@x"]
    server.call("PATCH", f"{team.path}/members/{member['id']}", {"role": "admin"}, team.anna)
    server.call("PATCH", team.path, {"name": "New"}, token)


def test_a_refresh_token_is_good_once(team: Team) -> None:
    first = team.exchange(team.ben)["refresh_token"]
    second = team.token(grant_type="refresh_token", refresh_token=first)
    team.sdk(second["access_token"], f"?environment_id={team.environment}")
    third = team.exchange(second["refresh_token"])
    assert third["access_token"] and third["refresh_token"] != second["refresh_token"]
    stolen = team.token(400, grant_type="refresh_token", refresh_token=first)
    assert stolen["error"] == "invalid_grant" and "used before" in stolen["error_description"]
    assert team.token(400, grant_type="refresh_token", refresh_token=third["refresh_token"])["error"] == "invalid_grant"
    assert "expired" in team.exchange(third["refresh_token"], 401)["detail"]
    assert len(team.server.acts("auth.refresh_reused")) == 1


def test_a_refresh_token_of_another_workspace_is_not_lost(team: Team) -> None:
    given = team.exchange(team.ben)["refresh_token"]
    other, _ = team.server.team(team.anna, "other")
    id_ = other.rpartition("/")[2]
    team.server.call("POST", "/auth/exchange", {"workspace_id": id_}, given, 403)
    team.exchange(given)


def test_forged_refresh_tokens_end_nothing(team: Team) -> None:
    good = team.exchange(team.ben)["refresh_token"]
    head, number, id_, mac = good.split(".")
    for bad in (
        f"{head}.1.{id_}.{mac}",
        f"{head}.{number}.{id_}.{'0' * len(mac)}",
        f"{head}.{number}.00000000.{mac}",
        "rt_x",
        "",
    ):
        assert team.token(400, grant_type="refresh_token", refresh_token=bad)["error"] == "invalid_grant"
    team.token(grant_type="refresh_token", refresh_token=good)


def test_signing_out_ends_the_refresh_token(team: Team) -> None:
    given = team.exchange(team.ben)["refresh_token"]
    team.server.call("POST", "/auth/logout", {"refresh_token": given}, status=204)
    team.token(400, grant_type="refresh_token", refresh_token=given)


def test_signing_out_ends_the_session_and_what_came_of_it(team: Team) -> None:
    given, other = team.exchange(team.ben)["refresh_token"], team.server.login("ben@x")
    kept = team.exchange(other)["refresh_token"]
    for _ in range(2):
        team.server.call("POST", "/auth/logout", token=team.ben, status=204)
    assert "ended" in team.server.call("GET", "/me", token=team.ben, status=401)["detail"]
    team.exchange(team.ben, 401)
    team.token(400, grant_type="refresh_token", refresh_token=given)
    assert team.server.call("GET", "/me", token=other)["user"]["email"] == "ben@x", "another sign-in goes on"
    team.token(grant_type="refresh_token", refresh_token=kept)
    assert len(team.server.acts("auth.signed_out")) == 1
    for nothing in ("x", team.key, ""):
        team.server.call("POST", "/auth/logout", token=nothing, status=204)


def test_sessions_that_were_left_are_forgotten_when_they_are_over(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(session_s=60)
    first = server.login("admin")
    server.call("POST", "/auth/logout", token=first, status=204)
    assert server.sql("SELECT count(*) FROM entries WHERE kind = 'ended_session'") == [(1,)]
    clock = server.app.state.worker.engine.clock
    later = clock.now() + 61_000_000 + SPARE_US
    monkeypatch.setattr(type(clock), "now", lambda self: later)
    assert server.client.portal is not None
    for sweep in server.app.state.retention.along:
        server.client.portal.call(sweep)
    assert server.sql("SELECT count(*) FROM entries WHERE kind = 'ended_session'") == [(0,)]
    server.call("GET", "/me", token=first, status=401)


def test_a_program_has_a_token_for_its_key(team: Team) -> None:
    given = team.token(grant_type="client_credentials", client_id=team.key_id, client_secret=team.key)
    assert given["expires_in"] == 600 and "refresh_token" not in given
    assert team.sdk(given["access_token"])[0]["name"] == "data", "it works in the key's environment"
    narrow = team.token(grant_type="client_credentials", auth=(team.key_prefix, team.key), scope="runs:read")
    assert narrow["scope"] == "runs:read"
    team.sdk(narrow["access_token"], status=403)
    spelled = team.token(grant_type="client_credentials", auth=(team.key_prefix, team.key), scope="runs:read builds:read")
    assert spelled["scope"] == "builds:read runs:read"
    form = {"grant_type": "client_credentials", "client_id": team.key_id, "client_secret": team.key}
    assert team.token(400, **form, scope="nonsense")["error"] == "invalid_scope"
    assert team.token(400, **form, scope="workspaces:write")["error"] == "invalid_scope"
    for bad in ({"client_id": "x"}, {"client_secret": team.key + "x"}, {"client_secret": team.ben}, {"client_secret": ""}):
        assert team.token(401, **{**form, **bad})["error"] == "invalid_client"
    team.server.call("DELETE", f"{team.at}/api-keys/{team.key_id}", token=team.anna, status=204)
    team.sdk(given["access_token"], status=401)
    assert team.token(401, **form)["error"] == "invalid_client"


def test_oauth_errors_have_their_own_shape(team: Team) -> None:
    assert team.token(400)["error"] == "invalid_request"
    assert team.token(400, grant_type="password")["error"] == "unsupported_grant_type"
    answer = team.server.client.post("/api/v1/auth/token", json={"grant_type": "refresh_token"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    answer = team.server.client.post("/api/v1/auth/token", content="grant_type=a&grant_type=b", headers=FORM)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_password_gives_a_session(team: Team) -> None:
    server, own = team.server, {"sec-fetch-site": "same-origin"}
    there = server.client.post("/api/v1/auth/login", json={"email": "ben@x", "password": PASSWORD})
    assert "set-cookie" not in there.headers, "a page elsewhere cannot sign somebody in"
    answer = server.client.post("/api/v1/auth/login", json={"email": "ben@x", "password": PASSWORD}, headers=own)
    assert answer.json()["expires_in"] == 86_400 and "astrarium_session=" in answer.headers["set-cookie"]
    server.client.cookies.clear()
    team.exchange(answer.json()["session_token"])
    wrong = {"email": "ben@x", "password": "wrong-password"}
    for _ in range(10):
        server.refused(401, "wrong user name or password", "POST", "/auth/login", wrong)
    answer = server.client.post("/api/v1/auth/login", json=wrong)
    assert answer.status_code == 429 and 295 <= int(answer.headers["retry-after"]) <= 300
    assert "has to wait" in answer.json()["detail"]
    answer = server.client.post("/api/v2/auth/login", json={"username": "ben@x", "password": PASSWORD})
    assert (answer.status_code, answer.json()["details"]["reason"]) == (429, "rate_limited")


def test_the_key_that_signs_is_changed_without_a_stop(serve: Callable[..., Server]) -> None:
    team = Team(serve())
    server, old = team.server, team.exchange(team.ben)["access_token"]
    server.call("POST", "/auth/keys/rotate", token=team.anna, status=403)
    made = server.call("POST", "/auth/keys/rotate", token=team.admin, status=201)["kid"]
    new = team.exchange(team.ben)["access_token"]
    assert jwt.get_unverified_header(new)["kid"] == made != jwt.get_unverified_header(old)["kid"]
    assert len(server.call("GET", "/.well-known/jwks.json")["keys"]) == 2
    for token in (old, new):
        team.sdk(token, f"?environment_id={team.environment}")
    server = team.server = serve()
    for token in (old, new):
        team.sdk(token, f"?environment_id={team.environment}")
    hidden = server.sql("SELECT body FROM entries WHERE kind = 'signing_key'")
    assert len(hidden) == 2 and "PRIVATE" not in str(hidden)


def test_forged_tokens_of_ours_open_nothing(team: Team) -> None:
    token = team.exchange(team.ben)["access_token"]
    head, body, mac = token.split(".")
    other = jwt.encode({"sub": "x"}, "s" * 32, "HS256", headers=jwt.get_unverified_header(token) | {"alg": "HS256"})
    for bad in (
        f"{head}.{body}.",
        f"{head}.{body}.{mac[:-4]}AAAA",
        f"{other.split('.')[0]}.{body}.{other.split('.')[2]}",
        token + "A",
    ):
        assert team.sdk(bad, f"?environment_id={team.environment}", 401)


def test_on_an_open_server_the_owner_has_tokens_too(serve: Callable[..., Server]) -> None:
    server = serve(auth="none")
    [personal] = server.call("GET", "/me")["workspaces"]
    given = server.call("POST", "/auth/exchange", {"workspace_id": personal["id"], "refresh": True})
    assert "refresh_token" not in given
    [environment] = server.call("GET", f"/workspaces/{personal['id']}/environments")
    where = f"/target-roots?environment_id={environment['id']}"
    assert server.call("GET", where, token=given["access_token"])[0]["name"] == "default"
    assert server.call("GET", "/v2/dags", token=given["access_token"])["dags"]
    server.call("GET", where, token=given["access_token"][:-8] + "AAAAAAAA", status=401)


def test_a_stream_is_opened_with_a_ticket(team: Team) -> None:
    server = team.server
    made = server.call("POST", "/auth/tickets", {"capabilities": ["runs:read"]}, team.ben, 201)
    assert made["expires_in"] == 30
    server.call("POST", "/auth/tickets", {"capabilities": ["admin"]}, team.exchange(team.ben)["access_token"], 403)
    server.call("POST", "/auth/tickets", status=401)
    answer = server.client.get("/api/v1/me", params={"ticket": made["ticket"]})
    assert answer.status_code == 401, "no other route takes one"
    server.call("GET", "/me", token=made["ticket"], status=401)
