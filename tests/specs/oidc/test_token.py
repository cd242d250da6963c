"""Tokens of a provider as credentials: whom they let in, and which are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.issuer import Issuer
from tests.specs.tenancy.conftest import PASSWORD, Server

pytestmark = pytest.mark.net

CLI = "astrarium-cli"


def encode(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def told(server: Server, token: str, status: int = 401) -> str:
    return str(server.call("GET", "/ui/me", token=token, status=status)["detail"])


def test_the_first_contact_makes_a_user_with_a_workspace_of_their_own(house: Server, issuer: Issuer) -> None:
    me = house.call("GET", "/ui/me", token=issuer.token())
    user, [workspace] = me["user"], me["workspaces"]
    assert (user["external_id"], user["email"], user["display_name"]) == ("anna-1", "anna@example.com", "Anna Ant")
    assert workspace == {
        "id": workspace["id"], "name": "Anna Ant's Workspace", "slug": "anna", "role": "owner", "is_personal": True,
    }  # fmt: skip
    path = f"/workspaces/{workspace['id']}/environments"
    [environment] = house.call("GET", path, token=issuer.token())
    assert (environment["name"], environment["slug"]) == ("Local", "local")
    [root] = house.call("GET", f"{path}/{environment['id']}/target-roots", token=issuer.token())
    assert root["name"] == "default"
    assert house.call("GET", "/me", token=issuer.token(aud=["x", CLI])) == me, "the second contact makes nothing"
    assert len(house.acts("user.created")) == len(house.acts("workspace.created")) - 1 == 1
    answer = house.ask("GET", "/v2/dags", token=issuer.token())
    assert answer.status_code == 403, "the server's own files are not theirs"
    assert house.call("GET", "/v2/auth/me", token=issuer.token())["user"]["role"] == "none"


def test_slugs_are_made_free_and_people_are_found_again(house: Server, issuer: Issuer) -> None:
    first = house.call("GET", "/me", token=issuer.token())
    issuer.person = {"sub": "anna-2", "email": "anna@other.example", "name": "Anna Other"}
    other = house.call("GET", "/me", token=issuer.token())
    [workspace] = other["workspaces"]
    assert workspace["slug"].startswith("anna-") and other["user"]["id"] != first["user"]["id"]
    issuer.person = {"sub": "anna-1", "email": "Anna@Example.org", "email_verified": True, "name": "Anna Bee"}
    again = house.call("GET", "/me", token=issuer.token())["user"]
    assert again == {**first["user"], "email": "Anna@Example.org", "display_name": "Anna Bee"}
    issuer.person = {"sub": "moved", "email": "anna@example.org", "name": "Anna Bee"}
    moved = house.call("GET", "/me", token=issuer.token())["user"]
    assert moved["id"] == first["user"]["id"] and moved["external_id"] == "moved", "the team has changed its provider"


def test_an_address_nobody_vouches_for_is_nobodys(house: Server, issuer: Issuer) -> None:
    house.call("GET", "/me", token=issuer.token())
    thief = {"sub": "thief", "email": "anna@example.com", "email_verified": False}
    assert "does not vouch" in told(house, issuer.token(**thief), 403)
    early = {"sub": "early", "email": "ben@example.com", "email_verified": False, "name": "Early"}
    squatter = house.call("GET", "/me", token=issuer.token(**early))["user"]
    issuer.person = {"sub": "ben-1", "email": "ben@example.com", "email_verified": True}
    ben = house.call("GET", "/me", token=issuer.token())["user"]
    assert ben["id"] != squatter["id"], "the real owner gets an account of their own"
    anna = house.call("GET", "/me", token=issuer.token(sub="anna-1", email="anna@example.com"))
    house.call("POST", "/workspaces", {"name": "Team", "slug": "team"}, issuer.token(sub="anna-1", email="anna@example.com"), 201)
    team = next(
        one["id"] for one in house.call("GET", "/me", token=issuer.token(sub="anna-1"))["workspaces"] if one["slug"] == "team"
    )
    house.call("POST", f"/workspaces/{team}/invites", {"email": "ben@example.com"}, issuer.token(sub="anna-1"), 201)
    assert house.call("GET", "/me/invites", token=issuer.token(**early)) == []
    assert len(house.call("GET", "/me/invites", token=issuer.token())) == 1
    assert anna["user"]["email"] == "anna@example.com"


def test_a_new_user_needs_an_address_and_a_known_one_does_not(house: Server, issuer: Issuer) -> None:
    assert "Email is required" in told(house, issuer.token(email=None), 400)
    house.call("GET", "/me", token=issuer.token())
    me = house.call("GET", "/me", token=issuer.token(email=None, name=None))["user"]
    assert (me["email"], me["display_name"]) == ("anna@example.com", "Anna Ant")


def test_a_deleted_user_does_not_come_back_by_themselves(serve: Callable[..., Server], issuer: Issuer) -> None:
    server = serve(issuer.url, oidc_admins="Boss@example.com")
    boss = {"sub": "boss", "email": "boss@example.com", "name": "Boss"}
    server.call("GET", "/me", token=issuer.token())
    assert server.call("GET", "/v2/auth/me", token=issuer.token(**boss))["user"]["role"] == "admin"
    users = server.call("GET", "/v2/users", token=issuer.token(**boss))["users"]
    anna = next(one for one in users if one["username"] == "anna@example.com")
    token = issuer.token()
    server.call("GET", "/me", token=token)
    server.call("DELETE", f"/v2/users/{anna['id']}", token=issuer.token(**boss), status=204)
    assert told(server, token).startswith("Invalid token")
    assert "deleted" in told(server, issuer.token(jti="2"), 403)
    assert server.acts("auth.sign_in_failed")
    server.call("PATCH", f"/v2/users/{users[1]['id']}", {"role": "viewer"}, issuer.token(**boss))


def test_people_with_a_role_here_reach_the_servers_files(serve: Callable[..., Server], issuer: Issuer) -> None:
    server = serve(issuer.url, oidc_role="viewer")
    assert server.call("GET", "/v2/dags", token=issuer.token())["dags"]
    answer = server.ask("POST", "/v2/dags/hello/start", {}, issuer.token())
    assert answer.status_code == 403
    mine = server.call("GET", "/me", token=issuer.token())["workspaces"]
    assert sorted((one["slug"], one["role"]) for one in mine) == [("anna", "owner"), ("personal", "member")]


def bad_tokens(issuer: Issuer) -> dict[str, str]:
    now = int(time.time())
    good = issuer.token()
    header, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    public = issuer.keys["k1"][1].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def signed_with(secret: bytes, alg: str = "HS256") -> str:
        text = f"{encode({'alg': alg, 'kid': 'k1', 'typ': 'JWT'})}.{encode(claims)}"
        mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
        return f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    other = Issuer.__new__(Issuer)
    other.url, other.person = issuer.url, issuer.person
    other.rotate("k1")
    return {
        "none": f"{encode({'alg': 'none', 'kid': 'k1'})}.{body}.",
        "None": f"{encode({'alg': 'None', 'kid': 'k1'})}.{body}.",
        "the public key as a secret": signed_with(pem),
        "the key id as a secret": signed_with(b"k1"),
        "a secret, called RS256": signed_with(pem, "RS256"),
        "another's key of this id": other.token(),
        "an unknown key": issuer.token({"kid": "../../etc/passwd"}),
        "a key in the header": issuer.token({"kid": "k9", "jwk": issuer.jwks()["keys"][0], "jku": issuer.url + "/jwks"}),
        "another algorithm of the same key": f"{encode({'alg': 'PS256', 'kid': 'k1'})}.{body}.{signature}",
        "another body": f"{header}.{encode({**claims, 'sub': 'boss'})}.{signature}",
        "no signature": f"{header}.{body}.",
        "cut": good[:-8],
        "wrong aud": issuer.token(aud="other"),
        "wrong auds": issuer.token(aud=["other", "another"]),
        "no aud": issuer.token(aud=None),
        "odd aud": issuer.token(aud=None, azp=None, client_id="other"),
        "wrong iss": issuer.token(iss="https://evil.example"),
        "iss with more": issuer.token(iss=issuer.url + ".evil.example"),
        "no iss": issuer.token(iss=None),
        "expired": issuer.token(exp=now - 60),
        "no exp": issuer.token(exp=None),
        "odd exp": issuer.token(exp=1 << 50),
        "not yet": issuer.token(nbf=now + 120),
        "made later": issuer.token(iat=now + 120),
        "nobody": issuer.token(sub=""),
        "no sub": issuer.token(sub=None),
        "long sub": issuer.token(sub="x" * 300),
    }  # fmt: skip


def test_no_bad_token_opens_anything(house: Server, issuer: Issuer) -> None:
    before = house.sql("SELECT count(*) FROM entries")
    for name, token in bad_tokens(issuer).items():
        answer = house.ask("GET", "/v1/me", token=token)
        assert answer.status_code == 401, (name, answer.text)
        words = "Token has expired" if name == "expired" else "Invalid token: "
        assert answer.json()["detail"].startswith(words), (name, answer.text)
    assert house.sql("SELECT count(*) FROM entries") == before
    assert issuer.asked.count("/jwks") <= 2, "a stranger's key ids do not make us hammer the provider"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_token_with_any_byte_changed_is_refused(house: Server, issuer: Issuer, data: Any) -> None:
    token = issuer.token()
    place = data.draw(st.integers(0, len(token) - 2))
    sign = data.draw(st.sampled_from("ABCDefgh0189-_.=").filter(lambda one: one != token[place]))
    changed = token[:place] + sign + token[place + 1 :]
    answer = house.ask("GET", "/v1/me", token=changed)
    assert answer.status_code == 401, (place, sign, answer.text)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_other_kinds_of_keys(house: Server, issuer: Issuer, algorithm: str) -> None:
    issuer.rotate("curve", algorithm)
    assert house.call("GET", "/me", token=issuer.token())["user"]["external_id"] == "anna-1"


def test_clocks_may_differ_a_little(serve: Callable[..., Server], issuer: Issuer) -> None:
    server, now = serve(issuer.url, oidc_leeway_s=60), int(time.time())
    for more in ({"exp": now - 30}, {"nbf": now + 30}, {"iat": now + 30}):
        server.call("GET", "/me", token=issuer.token(**more))
    assert told(server, issuer.token(exp=now - 90)) == "Token has expired"


def test_several_audiences_and_names_of_the_provider(serve: Callable[..., Server], issuer: Issuer) -> None:
    outside = "https://login.example.com"
    server = serve(issuer.url, oidc_audience="stardag-ui, stardag-sdk", oidc_external_issuer=outside)
    for more in ({"aud": "stardag-ui"}, {"aud": ["x", "stardag-sdk"]}, {"aud": "stardag-sdk", "iss": outside + "/"}):
        server.call("GET", "/me", token=issuer.token(**more))
    assert "Audience" in told(server, issuer.token(aud=CLI))
    assert server.call("GET", "/auth/config") == {"auth_mode": "oidc", "oidc_issuer": outside, "oidc_client_id": CLI}


def test_a_rotation_at_the_provider_is_survived(house: Server, issuer: Issuer) -> None:
    old = issuer.token()
    house.call("GET", "/me", token=old)
    issuer.rotate("k2")
    house.call("GET", "/me", token=issuer.token())
    house.call("GET", "/me", token=old)
    read = issuer.asked.count("/jwks")
    for number in range(20):
        assert "Unable to find key" in told(house, issuer.token({"kid": f"stranger-{number}"}))
    assert issuer.asked.count("/jwks") == read, "the pause holds"


def test_while_the_provider_is_down_its_known_keys_are_good(serve: Callable[..., Server], issuer: Issuer) -> None:
    server = serve(issuer.url)
    server.call("GET", "/me", token=issuer.token())
    issuer.down = True
    provider = server.app.state.tenancy.provider
    provider._read_at = 1
    server.call("GET", "/me", token=issuer.token(jti="another"))
    fresh = serve(issuer.url)
    answer = fresh.ask("GET", "/v1/me", token=issuer.token())
    assert answer.status_code == 503 and "identity provider" in answer.json()["detail"]
    answer = fresh.ask("GET", "/v1/me", token=issuer.token())
    assert answer.status_code == 503, "it is not asked again at once"
    assert fresh.ask("GET", "/v1/me", token="nonsense").status_code == 401


def test_a_provider_inside_the_network_must_be_allowed(serve: Callable[..., Server], issuer: Issuer) -> None:
    server = serve(issuer.url, egress_allow="")
    answer = server.ask("GET", "/v1/me", token=issuer.token())
    assert answer.status_code == 503 and "egress_allow" in answer.json()["detail"]
    assert issuer.asked == []


def test_users_with_passwords_sign_in_beside_the_provider(serve: Callable[..., Server], issuer: Issuer) -> None:
    server = serve(auth="builtin", admin_password=PASSWORD)
    admin = server.login("admin")
    server.user(admin, "carl")
    server = serve(issuer.url)
    token = server.call("POST", "/auth/login", {"email": "carl@localhost", "password": PASSWORD})["session_token"]
    assert server.call("GET", "/me", token=token)["user"]["email"] == "carl@localhost"
