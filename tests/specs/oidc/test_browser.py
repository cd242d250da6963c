"""The browser's sign-in at a provider, and what its session cookie may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.issuer import Issuer
from tests.specs.tenancy.conftest import Server

pytestmark = pytest.mark.net

LOGIN, CALLBACK = "/api/v1/auth/login", "/api/v1/auth/callback"
OWN = {"sec-fetch-site": "same-origin"}


def begin(server: Server, path: str = "/ui") -> dict[str, str]:
    """The query the provider is sent to with."""
    answer = server.client.get(LOGIN, params={"next": path}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return {name: one[0] for name, one in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def come_back(server: Server, issuer: Issuer, **changed: str) -> Any:
    """Sign in at the provider, and follow it back."""
    query = begin(server)
    there = httpx2.get(f"{issuer.url}/auth", params=query)
    given = {name: one[0] for name, one in parse_qs(urlsplit(there.headers["location"]).query).items()}
    return server.client.get(CALLBACK, params={**given, **changed}, follow_redirects=False)


def test_a_browser_signs_in_and_out(house: Server, issuer: Issuer) -> None:
    query = begin(house, "/ui/builds?x=1")
    assert query["code_challenge_method"] == "S256" and query["response_type"] == "code" and query["client_id"] == "astrarium"
    assert query["redirect_uri"] == "http://127.0.0.1" + CALLBACK and query["scope"] == "openid profile email"
    answer = come_back(house, issuer)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui")
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("astrarium_session="))
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert house.call("GET", "/me")["user"]["email"] == "anna@example.com"
    assert len(house.acts("auth.signed_in")) == 1
    [(_, actor, _)] = house.acts("auth.signed_in")
    assert actor.startswith("user:")
    token = house.client.cookies["astrarium_session"]
    assert house.client.post("/api/v1/auth/logout", headers=OWN).status_code == 204
    assert house.ask("GET", "/v1/me").json() == {"detail": "Not authenticated"}
    assert "ended" in house.call("GET", "/me", token=token, status=401)["detail"]


def test_a_page_elsewhere_cannot_use_the_cookie(house: Server, issuer: Issuer) -> None:
    come_back(house, issuer)
    body = {"name": "Team", "slug": "team"}
    for headers in (
        {}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "none"},
        {"origin": "http://127.0.0.1:8081"}, {"origin": "null"},
    ):  # fmt: skip
        answer = house.client.post("/api/v1/workspaces", json=body, headers=headers)
        assert answer.status_code == 403, (headers, answer.text)
    assert house.client.post("/api/v1/workspaces", json=body, headers=OWN).status_code == 201
    body["slug"] = "team2"
    assert house.client.post("/api/v1/workspaces", json=body, headers={"origin": "http://127.0.0.1"}).status_code == 201
    answer = house.client.get("/api/v1/me", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200, "reading is safe: a page elsewhere cannot see the answer"
    assert "access-control-allow-origin" not in answer.headers


def test_a_token_wins_over_the_cookie(house: Server, issuer: Issuer) -> None:
    come_back(house, issuer)
    issuer.person = {"sub": "ben", "email": "ben@example.com"}
    assert house.call("GET", "/me", token=issuer.token())["user"]["email"] == "ben@example.com"
    assert house.call("GET", "/me", token="nonsense", status=401)


def test_over_tls_the_cookie_is_for_tls(serve: Callable[..., Server], issuer: Issuer) -> None:
    server = serve(issuer.url, public_url="https://astrarium.example.com")
    answer = server.client.get(LOGIN, follow_redirects=False)
    assert "redirect_uri=https%3A%2F%2Fastrarium.example.com%2Fapi%2Fv1%2Fauth%2Fcallback" in answer.headers["location"]
    assert "Secure" in answer.headers["set-cookie"]


def test_what_does_not_belong_together_is_refused(house: Server, issuer: Issuer) -> None:
    def refused(answer: Any, why: str) -> None:
        assert answer.status_code == 401 and why in answer.json()["detail"], answer.text
        assert "astrarium_session" not in answer.headers.get("set-cookie", "")

    refused(come_back(house, issuer, state="another"), "state")
    refused(come_back(house, issuer, code="another"), "invalid_grant")
    refused(come_back(house, issuer, iss="https://evil.example"), "another provider")
    refused(come_back(house, issuer, error="access_denied", error_description="she said no"), "she said no")
    issuer.nonce = "another"
    refused(come_back(house, issuer), "nonce")
    issuer.nonce = None
    house.client.cookies.clear()
    refused(house.client.get(CALLBACK, params={"code": "x", "state": "y"}), "did not begin it")
    assert len(house.acts("auth.sign_in_failed")) == 6
    assert house.sql("SELECT count(*) FROM entries WHERE kind = 'user'") == [(0,)]


def test_a_code_is_of_no_use_in_another_browser(house: Server, issuer: Issuer) -> None:
    theirs = httpx2.get(f"{issuer.url}/auth", params=begin(house))
    house.client.cookies.clear()
    begin(house)
    given = {name: one[0] for name, one in parse_qs(urlsplit(theirs.headers["location"]).query).items()}
    assert house.client.get(CALLBACK, params=given, follow_redirects=False).status_code == 401


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "ui", "/a\nb"])
def test_the_way_on_stays_here(house: Server, path: str) -> None:
    answer = house.client.get(LOGIN, params={"next": path}, follow_redirects=False)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", "next"]


def test_the_provider_is_asked_who_it_is_when_the_token_does_not_say(house: Server, issuer: Issuer) -> None:
    issuer.userinfo = {"sub": "quiet", "email": "quiet@example.com", "name": "Quiet"}
    issuer.person = {"sub": "quiet"}
    assert come_back(house, issuer).status_code == 303
    assert house.call("GET", "/me")["user"]["display_name"] == "Quiet"
    issuer.person = {"sub": "other"}
    house.client.cookies.clear()
    assert come_back(house, issuer).status_code == 400, "what is told of another is not taken"


def test_without_a_provider_there_is_nothing_to_sign_in_at(serve: Callable[..., Server]) -> None:
    server = serve()
    assert server.client.get(LOGIN, follow_redirects=False).status_code == 404
    assert server.call("GET", "/auth/config") == {"auth_mode": "none"} == server.client.get("/auth/config").json()
    server.client.cookies.set("astrarium_session", "stale")
    server.call("GET", "/me")
    assert serve(auth="builtin").call("GET", "/auth/config") == {"auth_mode": "local"}
