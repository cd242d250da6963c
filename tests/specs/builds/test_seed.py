"""Every endpoint the registry's document lists, by each credential it names: an API key, a token with `environment_id`, none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.specs.tenancy.conftest import PASSWORD, Server, serve  # noqa: F401  (a fixture)

OWNER = str(uuid4())
TASK = {"task_id": "t", "task_name": "Work", "task_namespace": "ns", "task_data": {"a": 1}, "output_uri": "s3://b/t"}
ASSETS = [{"type": "json", "name": "m", "body": {"acc": 0.5}}]
SDK = (
    ("POST", "/builds", {"root_task_ids": ["t"]}, 201),
    ("GET", "/builds", None, 200),
    ("GET", "/builds/{b}", None, 200),
    ("POST", "/builds/{b}/tasks", TASK, 201),
    ("POST", "/builds/{b}/tasks/t/assets", ASSETS, 201),
    ("GET", "/builds/{b}/tasks", None, 200),
    ("GET", "/builds/{b}/graph", None, 200),
    ("GET", "/tasks", None, 200),
    ("GET", "/tasks/t", None, 200),
    ("GET", "/tasks/t/assets", None, 200),
    ("GET", "/tasks/t/events", None, 200),
    ("GET", "/tasks/search?filter=param.a:=:1", None, 200),
    ("GET", "/tasks/search/keys", None, 200),
    ("GET", "/tasks/search/values?key=task_name", None, 200),
    ("GET", "/tasks/search/columns", None, 200),
    ("GET", "/target-roots", None, 200),
    ("POST", "/locks/t/acquire", {"owner_id": OWNER}, 200),
    ("GET", "/locks", None, 200),
    ("GET", "/locks/t", None, 200),
    ("POST", "/locks/t/renew", {"owner_id": OWNER}, 200),
    ("POST", "/locks/t/release", {"owner_id": OWNER}, 200),
    ("POST", "/builds/{b}/complete", None, 200),
    ("POST", "/builds/{b}/fail", None, 200),
    ("POST", "/builds/{b}/cancel", None, 200),
)
"""Routes of the SDK, in an order in which each has something to show."""
PEOPLE = (
    ("GET", "/me", None, 200),
    ("GET", "/me/invites", None, 200),
    ("POST", "/workspaces", {"name": "New", "slug": "new"}, 201),
    ("GET", "/workspaces/{w}", None, 200),
    ("PATCH", "/workspaces/{w}", {"name": "Newer"}, 200),
    ("GET", "/workspaces/{w}/members", None, 200),
    ("GET", "/workspaces/{w}/environments", None, 200),
    ("POST", "/workspaces/{w}/environments", {"name": "Second", "slug": "second"}, 201),
    ("GET", "/workspaces/{w}/environments/{e}", None, 200),
    ("PATCH", "/workspaces/{w}/environments/{e}", {"name": "Other"}, 200),
    ("DELETE", "/workspaces/{w}/environments/{e}", None, 204),
    ("DELETE", "/workspaces/{w}", None, 204),
)
OPEN = (("GET", "/health"), ("GET", "/.well-known/jwks.json"), ("GET", "/api/v1/auth/config"))


class Seed:
    """One who calls, with what is sent along and the ids found on the way."""

    def __init__(self, server: Server, headers: dict[str, str], query: str = "") -> None:
        self.client = server.client
        self.headers = headers
        self.query = query
        self.ids = {"b": "", "w": "", "e": ""}

    def go(self, rows: Any, *, query: bool) -> None:
        for method, path, body, status in rows:
            for name, id_ in self.ids.items():
                path = path.replace("{" + name + "}", id_)
            whole = f"/api/v1{path}{'&' if '?' in path else '?'}{self.query}" if query else f"/api/v1{path}"
            answer = self.client.request(method, whole, json=body, headers=self.headers)
            assert answer.status_code == status, (method, path, answer.status_code, answer.text)
            if method == "POST" and status == 201 and path in ("/builds", "/workspaces"):
                self.ids["b" if path == "/builds" else "w"] = answer.json()["id"]
            elif path.endswith("/environments") and method == "POST":
                self.ids["e"] = answer.json()["id"]


def closed(server: Server) -> tuple[str, str, str]:
    """A person's token, and where they are: workspace and environment."""
    server.user(server.login("admin"), "ann")
    token = server.login("ann")
    workspace, environment = server.team(token, "team")
    return token, workspace.rpartition("/")[2], environment.rpartition("/")[2]


def test_without_sign_in(serve: Callable[..., Server]) -> None:  # noqa: F811
    server = serve()
    seed = Seed(server, {})
    seed.go(SDK, query=False)
    seed.go(PEOPLE, query=False)
    for method, path in OPEN:
        assert server.client.request(method, path).status_code == 200


@pytest.mark.parametrize("exchanged", [True, False])
def test_with_a_token_and_the_environment(serve: Callable[..., Server], exchanged: bool) -> None:  # noqa: F811
    server = serve(auth="builtin", admin_password=PASSWORD)
    token, workspace, environment = closed(server)
    if exchanged:
        token = server.call("POST", "/auth/exchange", {"workspace_id": workspace}, token)["access_token"]
    seed = Seed(server, {"authorization": f"Bearer {token}"}, f"environment_id={environment}")
    seed.go(SDK, query=True)
    answer = server.client.get("/api/v1/builds", headers=seed.headers)
    assert answer.status_code == 400 and "environment_id" in answer.json()["detail"]
    if not exchanged:
        seed.go(PEOPLE, query=False)
    for method, path in OPEN:
        assert server.client.request(method, path).status_code == 200


def test_with_an_api_key(serve: Callable[..., Server]) -> None:  # noqa: F811
    server = serve(auth="builtin", admin_password=PASSWORD)
    token, workspace, environment = closed(server)
    path = f"/workspaces/{workspace}/environments/{environment}/api-keys"
    key = server.call("POST", path, {"name": "ci"}, token, 201)["key"]
    Seed(server, {"x-api-key": key}).go(SDK, query=False)
    for method, path, body, _ in SDK:
        answer = server.client.request(method, "/api/v1" + path.replace("{b}", str(uuid4())), json=body)
        assert answer.status_code == 401, (method, path)
        answer = server.client.request(
            method, "/api/v1" + path.replace("{b}", str(uuid4())), json=body, headers={"x-api-key": key[:-1] + "_"}
        )
        assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid API key"), (method, path)
