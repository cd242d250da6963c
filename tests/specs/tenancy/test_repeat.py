"""Repeated requests: with one `Idempotency-Key` a request is carried out once, and its answer given again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.specs.tenancy.conftest import Server


def post(server: Server, key: str, path: str, body: Any = None, token: str = "", method: str = "POST") -> Any:
    headers = {"idempotency-key": key} | ({"authorization": f"Bearer {token}"} if token else {})
    return server.client.request(method, "/api/v1" + path, json=body, headers=headers)


def test_a_repeated_request_is_given_the_same_answer_over_a_restart(serve: Callable[..., Server]) -> None:
    server = serve()
    asked = {"name": "Team", "slug": "team"}
    first = post(server, "k-1", "/workspaces", asked)
    assert first.status_code == 201 and "idempotent-replay" not in first.headers
    head = server.head()
    for restarted in (False, True):
        again = serve() if restarted else server
        repeated = post(again, "k-1", "/workspaces", asked)
        assert (repeated.status_code, repeated.content) == (201, first.content)
        assert repeated.headers["idempotent-replay"] == "true"
        assert repeated.headers["content-type"] == first.headers["content-type"]
        assert again.head() == head
        other = post(again, "k-1", "/workspaces", {"name": "Team", "slug": "another"})
        assert other.status_code == 409 and "another request" in other.json()["detail"]
        path = f"/workspaces/{first.json()['id']}"
        assert post(again, "k-1", path, method="DELETE").status_code == 409, "another route"
        assert again.head() == head
    place = post(again, "k-3", path + "/environments", {"name": "E", "slug": "ee"}).json()["id"]
    assert post(again, "k-2", f"{path}/environments/{place}", method="DELETE").status_code == 204
    gone = post(again, "k-2", f"{path}/environments/{place}", method="DELETE")
    assert (gone.status_code, gone.content, gone.headers["idempotent-replay"]) == (204, b"", "true")


def test_a_refused_request_may_be_tried_again(open_server: Server) -> None:
    team, _ = open_server.team("", "team")
    asked = {"name": "E", "slug": "ee"}
    assert post(open_server, "k", "/workspaces", {"name": "T", "slug": "team"}).status_code == 409
    assert post(open_server, "k", team + "/environments", asked).status_code == 201


def test_keys_are_each_callers_own(house: tuple[Server, str]) -> None:
    server, admin = house
    answers = [post(server, "k", "/workspaces", {"name": "T", "slug": slug}, token)
               for slug, token in (("anna", server.user(admin, "anna")), ("ben", server.user(admin, "ben")))]  # fmt: skip
    assert [one.status_code for one in answers] == [201, 201]


def test_a_secret_is_never_kept(open_server: Server) -> None:
    _, place = open_server.team("", "team")
    made = [post(open_server, "k", place + "/api-keys", {"name": "ci"}).json() for _ in range(2)]
    assert made[0]["id"] != made[1]["id"]
    assert not open_server.sql("SELECT 1 FROM events WHERE stream LIKE 'answer:%'")


@pytest.mark.parametrize("key", ["", " ", "x" * 129, "a b"])
def test_keys_that_are_none(open_server: Server, key: str) -> None:
    refused = post(open_server, key, "/workspaces", {"name": "T", "slug": "team"})
    assert refused.status_code in (400, 422) and "Idempotency-Key" in refused.text


def test_of_requests_at_once_one_is_carried_out(open_server: Server) -> None:
    asked = {"name": "Team", "slug": "team"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(open_server, "k", "/workspaces", asked), range(8)))
    made = [one for one in answers if one.status_code == 201]
    assert len({one.json()["id"] for one in made}) == 1
    assert all("under way" in one.text for one in answers if one.status_code != 201)
