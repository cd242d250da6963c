"""Workspaces over HTTP: their lives, their rules, and the words of each refusal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.specs.tenancy.conftest import Server

House = tuple[Server, str]
ROOT = {"name": "data", "uri_prefix": "s3://bucket/prefix"}


def test_the_local_owner_needs_no_credential_and_has_a_workspace(serve: Callable[..., Server]) -> None:
    server = serve()
    me = server.call("GET", "/me")
    assert me["user"] == {**me["user"], "external_id": "user:local", "email": "local@localhost", "display_name": "local"}
    [workspace] = me["workspaces"]
    assert {**workspace, "id": ""} == {"id": "", "name": "Personal", "slug": "personal", "role": "owner", "is_personal": True}
    path = f"/workspaces/{workspace['id']}"
    detail = server.call("GET", path)
    assert (detail["is_personal"], detail["member_count"], detail["environment_count"]) == (True, 1, 1)
    [environment] = server.call("GET", path + "/environments")
    assert (environment["slug"], environment["workspace_id"], environment["owner_id"]) == ("local", workspace["id"], None)
    [root] = server.call("GET", "/target-roots")
    assert root == {"name": "default", "uri_prefix": "~/.astrarium/local-target-roots/default"}
    key = server.call("POST", f"{path}/environments/{environment['id']}/api-keys", {"name": "ci"}, status=201)["key"]
    assert server.call("POST", "/v2/dags/hello/start", {}, key)["dagRunId"], "a key of the personal workspace runs DAGs"
    again = serve()
    assert again.call("GET", "/me") == me and again.call("GET", "/me", token=key)["user"]["display_name"] == "ci"


def test_the_life_of_a_workspace(open_server: Server) -> None:
    server = open_server
    asked = {
        "name": "Data Team", "slug": "data-team", "description": "ours", "initial_environment_name": "Dev",
        "initial_environment_slug": "dev", "initial_target_root_name": "data", "initial_target_root_uri": "s3://dev",
    }  # fmt: skip
    made = server.call("POST", "/workspaces", asked, status=201)
    assert made == {"id": made["id"], "name": "Data Team", "slug": "data-team", "description": "ours", "is_personal": False}
    path = f"/workspaces/{made['id']}"
    assert server.call("GET", path) == {**made, "member_count": 1, "environment_count": 1}
    [dev] = server.call("GET", path + "/environments")
    assert (dev["name"], dev["slug"], dev["description"]) == ("Dev", "dev", "Dev environment")
    [root] = server.call("GET", f"{path}/environments/{dev['id']}/target-roots")
    assert (root["name"], root["uri_prefix"], root["environment_id"]) == ("data", "s3://dev", dev["id"])
    assert server.call("PATCH", path, {"name": "Crew"}) == {**made, "name": "Crew"}
    assert server.call("PATCH", path, {"description": "theirs"}) == {**made, "name": "Crew", "description": "theirs"}
    assert [one["slug"] for one in server.call("GET", "/me")["workspaces"]] == ["personal", "data-team"]
    server.refused(409, "Workspace slug already exists", "POST", "/workspaces", {"name": "X", "slug": "data-team"})
    server.call("DELETE", path, status=204)
    server.refused(404, "Workspace not found", "GET", path)
    server.call("POST", "/workspaces", asked, status=201)
    personal = server.call("GET", "/me")["workspaces"][0]["id"]
    server.refused(400, "Cannot delete a personal workspace", "DELETE", f"/workspaces/{personal}")


def test_both_spellings_are_one(open_server: Server) -> None:
    server = open_server
    workspace, environment = server.team("", "team")
    server.call("POST", f"/ui{environment}/target-roots", ROOT, status=201)
    for path in ("/me", "/me/invites", workspace, environment, f"{environment}/target-roots", f"{workspace}/members"):
        assert server.call("GET", path) == server.call("GET", "/ui" + path)
    server.refused(409, "Target root with name 'data' already exists", "POST", f"{environment}/target-roots", ROOT)
    assert server.ask("GET", "/v1/ui/nothing").json() == server.ask("GET", "/v1/workspaces").json() | {"detail": "Not Found"}


def test_environments(open_server: Server) -> None:
    server = open_server
    workspace, first = server.team("", "team")
    server.refused(400, "Cannot delete the last environment", "DELETE", first)
    body = {"name": "Production", "slug": "prod", "description": "live"}
    prod = server.call("POST", workspace + "/environments", body, status=201)
    assert prod == {
        **body,
        "id": prod["id"],
        "workspace_id": workspace.rpartition("/")[2],
        "owner_id": None,
        "max_concurrent_locks": None,
    }
    path = f"{workspace}/environments/{prod['id']}"
    taken = "Environment slug already exists in this workspace"
    server.refused(409, taken, "POST", workspace + "/environments", {"name": "X", "slug": "prod"})
    assert server.call("PATCH", path, {"name": "Prod"}) == {**prod, "name": "Prod"} == server.call("GET", path)
    assert [one["slug"] for one in server.call("GET", workspace + "/environments")] == ["default", "prod"]
    key = server.call("POST", path + "/api-keys", {"name": "ci"}, status=201)["key"]
    server.call("POST", path + "/target-roots", ROOT, status=201)
    server.call("DELETE", path, status=204)
    server.refused(401, "Invalid API key", "GET", "/me", token=key)
    for method, rest in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/api-keys"), ("GET", "/target-roots")):
        server.refused(404, "Environment not found", method, path + rest, {})
    server.call("POST", workspace + "/environments", body, status=201)
    other, _ = server.team("", "other")
    server.refused(404, "Environment not found", "GET", other + first.removeprefix(workspace))


def test_an_environment_in_which_runs_are_active_stays(open_server: Server) -> None:
    server = open_server
    personal = f"/workspaces/{server.call('GET', '/me')['workspaces'][0]['id']}"
    made = server.call("POST", personal + "/environments", {"name": "Lab", "slug": "lab"}, status=201)
    local = server.call("GET", personal + "/environments")[0]["id"]
    told = "Cannot delete the environment this server's own work lands in"
    server.refused(400, told, "DELETE", f"{personal}/environments/{local}")
    path = f"{personal}/environments/{made['id']}"
    key = server.call("POST", path + "/api-keys", {"name": "ci"}, status=201)["key"]
    run = server.call("POST", "/v2/dags/hello/start", {"params": "FOR=60"}, key)["dagRunId"]
    server.refused(409, "Cannot delete an environment with runs that have not ended", "DELETE", path)
    server.call("POST", f"/v2/dag-runs/hello/{run}/stop", {})
    end = time.monotonic() + 30
    while server.call("GET", f"/v2/dag-runs/hello/{run}")["dagRunDetails"]["status"] not in (2, 3):
        assert time.monotonic() < end
        time.sleep(0.02)
    server.call("DELETE", path, status=204)


def test_keys_of_an_environment(open_server: Server) -> None:
    server = open_server
    workspace, environment = server.team("", "team")
    made = server.call("POST", environment + "/api-keys", {"name": "ci"}, status=201)
    id_ = environment.rpartition("/")[2]
    assert made["key"].startswith(f"sk_{id_[:6]}_") and len(made["key"]) == 42
    assert made["key_prefix"] == made["key"][3:11] and made["environment_id"] == id_ and made["revoked_at"] is None
    assert made["created_by_id"] == server.call("GET", "/me")["user"]["id"] and made["created_at"].endswith("Z")
    second = server.call("POST", environment + "/api-keys", {"name": "ci"}, status=201)
    listed = server.call("GET", environment + "/api-keys")
    assert [one["id"] for one in listed] == [second["id"], made["id"]] and "key" not in listed[0]
    server.call("POST", environment + "/target-roots", ROOT, status=201)
    assert server.call("GET", "/target-roots", token=made["key"]) == [ROOT]
    assert server.call("GET", f"/target-roots?environment_id={uuid4()}", token=made["key"]) == [ROOT], "a key has its own"
    assert server.call("GET", environment + "/api-keys")[1]["last_used_at"] is not None
    server.refused(403, "Requires admin role or higher", "POST", environment + "/api-keys", {"name": "x"}, made["key"])
    server.refused(403, "An API key belongs to one environment and cannot create a workspace", "POST", "/workspaces",
                   {"name": "X", "slug": "by-key"}, made["key"])  # fmt: skip
    other = server.call("POST", workspace + "/environments", {"name": "P", "slug": "prod"}, status=201)["id"]
    server.refused(404, "API key not found", "DELETE", f"{workspace}/environments/{other}/api-keys/{made['id']}")
    server.call("DELETE", f"{environment}/api-keys/{made['id']}", status=204)
    server.refused(404, "API key not found", "DELETE", f"{environment}/api-keys/{made['id']}")
    server.refused(401, "Invalid API key", "GET", "/target-roots", token=made["key"])
    assert [one["id"] for one in server.call("GET", environment + "/api-keys")] == [second["id"]]
    revoked = server.call("GET", environment + "/api-keys?include_revoked=true")[1]
    assert revoked["id"] == made["id"] and revoked["revoked_at"] and revoked["key_prefix"] == made["key_prefix"]


def test_a_key_of_another_workspace_opens_nothing_of_the_server(open_server: Server) -> None:
    server = open_server
    _, environment = server.team("", "team")
    key = server.call("POST", environment + "/api-keys", {"name": "ci"}, status=201)["key"]
    for method, path in (("GET", "/v2/dags"), ("POST", "/v2/dags/hello/start"), ("GET", "/v2/users"), ("GET", "/v2/api-keys")):
        server.call(method, path, {} if method == "POST" else None, key, 403)
    assert server.call("GET", "/v2/dag-runs", token=key)["dagRuns"] == []


def test_target_roots(open_server: Server) -> None:
    server = open_server
    workspace, environment = server.team("", "team")
    path = environment + "/target-roots"
    made = server.call("POST", path, ROOT, status=201)
    assert made == {**ROOT, "id": made["id"], "environment_id": environment.rpartition("/")[2], "created_at": made["created_at"]}
    other = server.call("POST", path, {"name": "other", "uri_prefix": "/mnt"}, status=201)
    one = f"{path}/{made['id']}"
    assert server.call("GET", one) == made and server.call("GET", path) == [made, other]
    server.refused(409, "Target root with name 'other' already exists", "PATCH", one, {"name": "other"})
    assert server.call("PATCH", one, {"uri_prefix": "gs://x"}) == {**made, "uri_prefix": "gs://x"}
    assert server.call("PATCH", one, {"name": "data2"})["name"] == "data2"
    prod = server.call("POST", workspace + "/environments", {"name": "P", "slug": "prod"}, status=201)["id"]
    server.refused(404, "Target root not found", "GET", f"{workspace}/environments/{prod}/target-roots/{made['id']}")
    server.call("POST", f"{workspace}/environments/{prod}/target-roots", {**ROOT, "name": "other"}, status=201)
    assert server.call("GET", f"/target-roots?environment_id={prod}") == [{**ROOT, "name": "other"}]
    for missing in (str(uuid4()), "nonsense"):
        server.refused(404, "Environment not found", "GET", f"/target-roots?environment_id={missing}")
    server.call("DELETE", one, status=204)
    server.refused(404, "Target root not found", "DELETE", one)


def test_invites_make_members(house: House) -> None:
    server, admin = house
    anna, ben = server.user(admin, "anna"), server.user(admin, "ben@example.org", "viewer")
    workspace, _ = server.team(anna, "team")
    invites = workspace + "/invites"
    made = server.call("POST", invites, {"email": "Ben@example.org"}, anna, 201)
    assert made == {"id": made["id"], "email": "Ben@example.org", "role": "member", "status": "pending",
                    "invited_by_email": "anna@localhost"}  # fmt: skip
    server.refused(409, "Invite already pending for this email", "POST", invites, {"email": "ben@example.org"}, anna)
    assert server.call("GET", invites, token=anna) == [made]
    server.refused(404, "Workspace not found", "GET", workspace, token=ben)
    [mine] = server.call("GET", "/me/invites", token=ben)
    assert mine == {"id": made["id"], "workspace_id": workspace.rpartition("/")[2], "workspace_name": "Team", "role": "member",
                    "invited_by_email": "anna@localhost"}  # fmt: skip
    assert server.call("GET", "/me/invites", token=anna) == []
    server.refused(404, "Invite not found", "POST", f"/workspaces/invites/{made['id']}/accept", token=anna)
    server.call("POST", f"/workspaces/invites/{made['id']}/decline", token=ben, status=204)
    assert server.call("GET", "/me/invites", token=ben) == server.call("GET", invites, token=anna) == []
    second = server.call("POST", invites, {"email": "ben@example.org", "role": "admin"}, anna, 201)
    server.call("DELETE", f"{invites}/{second['id']}", token=anna, status=204)
    server.refused(404, "Invite not found", "DELETE", f"{invites}/{second['id']}", token=anna)
    server.refused(404, "Invite not found", "POST", f"/workspaces/invites/{second['id']}/accept", token=ben)
    third = server.call("POST", invites, {"email": "ben@example.org"}, anna, 201)
    accepted = server.call("POST", f"/ui/workspaces/invites/{third['id']}/accept", token=ben)
    assert (accepted["slug"], accepted["is_personal"]) == ("team", False)
    assert [(one["slug"], one["role"]) for one in server.call("GET", "/me", token=ben)["workspaces"]] == [
        ("personal", "member"), ("team", "member"),
    ]  # fmt: skip
    server.refused(409, "User is already a member", "POST", invites, {"email": "ben@example.org"}, anna)
    members = server.call("GET", workspace + "/members", token=ben)
    assert [(one["email"], one["display_name"], one["role"]) for one in members] == [
        ("anna@localhost", "anna", "owner"), ("ben@example.org", "ben@example.org", "member"),
    ]  # fmt: skip
    assert [row[1].partition(":")[0] for row in server.acts("invite.accepted")] == ["user"]


def test_roles_of_members(house: House) -> None:
    server, admin = house
    anna, ben, cleo = (server.user(admin, name) for name in ("anna", "ben", "cleo"))
    workspace, environment = server.team(anna, "team")
    for name, token, role in (("ben", ben, "admin"), ("cleo", cleo, "member")):
        made = server.call("POST", workspace + "/invites", {"email": f"{name}@localhost", "role": role}, anna, 201)
        server.call("POST", f"/workspaces/invites/{made['id']}/accept", token=token)
    ids = {
        one["display_name"]: f"{workspace}/members/{one['id']}" for one in server.call("GET", workspace + "/members", token=ben)
    }
    server.call("GET", environment, token=cleo)
    server.refused(403, "Requires admin role or higher", "PATCH", workspace, {"name": "X"}, cleo)
    server.refused(403, "Requires admin role or higher", "GET", workspace + "/invites", token=cleo)
    server.refused(403, "Requires owner role or higher", "DELETE", workspace, token=ben)
    assert server.call("PATCH", ids["cleo"], {"role": "admin"}, ben)["role"] == "admin"
    server.call("PATCH", workspace, {"name": "X"}, cleo)
    for member in ("anna", "cleo"):
        server.refused(403, "Only owners can modify owner roles", "PATCH", ids[member], {"role": "owner"}, ben)
    invite = {"email": "eve@example.org", "role": "owner"}
    server.refused(403, "Only owners can modify owner roles", "POST", workspace + "/invites", invite, ben)
    server.refused(403, "Only owners can remove owners", "DELETE", ids["anna"], token=ben)
    server.refused(400, "Cannot remove the last owner", "DELETE", ids["anna"], token=anna)
    server.refused(400, "Cannot demote the last owner", "PATCH", ids["anna"], {"role": "member"}, anna)
    server.refused(404, "Member not found", "DELETE", f"{workspace}/members/{uuid4()}", token=anna)
    assert server.call("PATCH", ids["ben"], {"role": "owner"}, anna)["role"] == "owner"
    server.call("DELETE", ids["anna"], token=ben, status=204)
    server.refused(404, "Workspace not found", "GET", workspace, token=anna)
    server.call("DELETE", workspace, token=ben, status=204)


def test_accounts_are_members_of_the_personal_workspace(house: House) -> None:
    server, admin = house
    server.user(admin, "anna")
    personal = f"/workspaces/{server.call('GET', '/me', token=admin)['workspaces'][0]['id']}"
    members = server.call("GET", personal + "/members", token=admin)
    assert [(one["display_name"], one["role"]) for one in members] == [("local", "owner"), ("admin", "admin"), ("anna", "member")]
    answer = server.ask("DELETE", f"/v1{personal}/members/{members[2]['id']}", token=admin)
    assert answer.status_code == 400 and f"/api/v2/users/{members[2]['id']}" in answer.json()["detail"]
    told = "Cannot invite members to a personal workspace"
    server.refused(403, told, "POST", personal + "/invites", {"email": "eve@example.org"}, admin)


def test_limits_are_settings(serve: Callable[..., Server]) -> None:
    server = serve(max_workspaces=2, max_environments=2)
    workspace, _ = server.team("", "team")
    server.refused(403, "You can create at most 2 workspaces", "POST", "/workspaces", {"name": "X", "slug": "x1"})
    server.call("POST", workspace + "/environments", {"name": "P", "slug": "prod"}, status=201)
    told = "Workspace can have at most 2 environments"
    server.refused(403, told, "POST", workspace + "/environments", {"name": "Q", "slug": "qa"})


@pytest.mark.parametrize(("body", "field"), [
    ({"slug": "team"}, "name"), ({"name": "X"}, "slug"), ({"name": 1, "slug": "team"}, "name"), ({"name": "", "slug": "team"}, "name"),
    ({"name": "X", "slug": "-a"}, "slug"), ({"name": "X", "slug": "a"}, "slug"), ({"name": "X" * 256, "slug": "team"}, "name"),
    ({"name": "X", "slug": "ab", "description": "\u0000"}, "description"),
    ({"name": "X", "slug": "ab", "initial_environment_slug": "A"}, "initial_environment_slug"),
    ({"name": "X", "slug": "ab", "initial_target_root_name": "r", "initial_target_root_uri": "x" * 513}, "initial_target_root_uri"),
])  # fmt: skip
def test_wrong_fields_are_told_as_a_list(open_server: Server, body: dict[str, Any], field: str) -> None:
    before = open_server.head()
    [wrong] = open_server.call("POST", "/workspaces", body, status=422)["detail"]
    assert wrong["loc"] == ["body", field] and wrong["msg"] and wrong["type"] in ("missing", "value_error")
    assert open_server.head() == before


def test_wrong_paths_queries_and_bodies(open_server: Server) -> None:
    server = open_server
    workspace, environment = server.team("", "team")
    for path, name in (("/workspaces/x", "workspace_id"), (f"{workspace}/environments/x", "environment_id")):
        [wrong] = server.call("GET", path, status=422)["detail"]
        assert wrong["loc"] == ["path", name]
    [wrong] = server.call("GET", f"{environment}/api-keys?include_revoked=maybe", status=422)["detail"]
    assert wrong["loc"] == ["query", "include_revoked"]
    for content in (b"", b"{", b"[]", b"\xff"):
        answer = server.client.post("/api/v1/workspaces", content=content)
        assert answer.status_code == 422 and isinstance(answer.json()["detail"], list)
    [wrong] = server.call("POST", workspace + "/invites", {"email": "nobody"}, status=422)["detail"]
    assert wrong["loc"] == ["body", "email"]
    server.call("POST", workspace + "/invites", {"email": "a@b", "role": "root"}, status=422)
    assert server.ask("PUT", "/v1/me").status_code == 405


def test_a_member_may_be_limited_to_environments(house: House) -> None:
    server, admin = house
    anna, ben = server.user(admin, "anna"), server.user(admin, "ben@example.org")
    path, place = server.team(anna, "annas")
    server.call("POST", path + "/environments", {"name": "Production", "slug": "production"}, anna, 201)
    invite = server.call("POST", path + "/invites", {"email": "ben@example.org"}, anna, 201)["id"]
    server.call("POST", f"/workspaces/invites/{invite}/accept", token=ben)
    member = server.call("GET", path + "/members", token=anna)[1]["id"]
    one = server.call("GET", path + "/members", token=anna)[1]
    assert (one["role"], one["environments"]) == ("member", [])
    id_ = place.rpartition("/")[2]
    limited = server.call("PATCH", f"{path}/members/{member}", {"role": "admin", "environments": [id_]}, anna)
    assert (limited["role"], limited["environments"]) == ("admin", [id_])
    made = server.call("POST", place + "/target-roots", ROOT, ben, 201)
    other = next(one["id"] for one in server.call("GET", path + "/environments", token=ben) if one["slug"] == "production")
    server.refused(403, "Requires admin role or higher", "POST", f"{path}/environments/{other}/target-roots", ROOT, ben)
    server.refused(403, "Requires admin role or higher", "PATCH", path, {"name": "Bens"}, ben)
    server.refused(403, "Requires admin role or higher", "PATCH", f"{path}/members/{member}", {"role": "admin"}, ben)
    assert server.call("POST", f"/builds?environment_id={id_}", {}, ben, 201)["id"]
    assert "builds:write" in server.call("POST", f"/builds?environment_id={other}", {}, ben, 403)["detail"]
    assert server.call("GET", f"{place}/target-roots/{made['id']}", token=ben)["name"] == ROOT["name"]
    freed = server.call("PATCH", f"{path}/members/{member}", {"role": "member", "environments": []}, anna)
    assert (freed["role"], freed["environments"]) == ("member", [])
