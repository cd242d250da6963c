"""Calls: the credential, tokens that end, connections that are lost, refusals, places."""

from __future__ import annotations

import asyncio
import socket

import pytest

from astrarium.config.home import AccessToken, Credential, Home
from astrarium.errors import AstrariumError, Conflict, Forbidden, Held, Invalid, NotFound, TooOften, Unauthenticated, Unavailable
from astrarium.sdk.session import AsyncSession, Place, Session
from astrarium.spec.graph import Retry
from tests.sdk.registry import DEV, KEY, PROD, TEAM, Registry
from tests.sdk.session.conftest import USER, Configured


def test_an_api_key_goes_before_a_sign_in_and_names_no_environment(
    signed_in: Home, configured: Configured, registry: Registry
) -> None:
    with Session(configured(api_key=KEY)) as session:
        assert session.call("GET", "/api/v1/echo", query={"page": 1, "none": None, "all": True}, scoped=True) == {
            "query": {"page": "1", "all": "true"}, "body": None,
        }  # fmt: skip
    (method, path, _, headers, _) = registry.seen[-1]
    assert (method, path, headers["x-api-key"]) == ("GET", "/api/v1/echo", KEY)
    assert "authorization" not in headers
    assert headers["user-agent"].startswith("astrarium/")


def test_a_sign_in_becomes_a_token_of_the_workspace(signed_in: Home, configured: Configured, registry: Registry) -> None:
    with Session(configured()) as session:
        assert session.call("GET", "/api/v1/echo", scoped=True)["query"] == {"environment_id": DEV}
        session.call("GET", "/api/v1/echo", scoped=True)
    assert registry.paths() == [
        "POST /token", "GET /api/v1/ui/me", "POST /api/v1/auth/exchange", f"GET /api/v1/ui/workspaces/{TEAM}/environments",
        "GET /api/v1/echo", "GET /api/v1/echo",
    ]  # fmt: skip
    assert registry.seen[-1][3]["authorization"] in {f"Bearer {token}" for token in registry.access}
    registry.seen.clear()
    with Session(configured()) as session:  # another process: ids and the token are remembered
        session.call("GET", "/api/v1/echo", scoped=True)
    assert registry.paths() == ["GET /api/v1/echo"]


def test_a_replaced_refresh_token_is_kept(signed_in: Home, configured: Configured, registry: Registry) -> None:
    with Session(configured()) as session:
        session.identity.refresh(TEAM)
        session.identity.refresh(TEAM)
    kept = signed_in.credential("central", USER)
    assert kept is not None
    assert {kept.refresh_token} == registry.refresh_tokens


def test_a_token_that_has_ended_is_renewed_in_silence(signed_in: Home, configured: Configured, registry: Registry) -> None:
    signed_in.keep_access_token("central", USER, TEAM, AccessToken("old", 1.0))
    with Session(configured(workspace=TEAM, environment=DEV)) as session:
        session.call("GET", "/api/v1/echo")
    assert registry.paths() == ["POST /token", "POST /api/v1/auth/exchange", "GET /api/v1/echo"]


def test_a_refused_token_is_renewed_once(signed_in: Home, configured: Configured, registry: Registry) -> None:
    with Session(configured(workspace=TEAM, environment=DEV)) as session:
        session.call("GET", "/api/v1/echo")
        registry.access.clear()  # the server has new keys
        registry.seen.clear()
        assert session.call("POST", "/api/v1/echo", body={"a": 1})["body"] == {"a": 1}
        assert registry.paths() == ["POST /api/v1/echo", "POST /api/v1/auth/exchange", "POST /api/v1/echo"]


def test_an_identity_token_that_ended_meanwhile_is_renewed(signed_in: Home, configured: Configured, registry: Registry) -> None:
    with Session(configured(workspace=TEAM, environment=DEV)) as session:
        session.call("GET", "/api/v1/echo")
        registry.access.clear()
        registry.identities.clear()
        session.call("GET", "/api/v1/echo")
    assert registry.paths()[-3:] == ["POST /token", "POST /api/v1/auth/exchange", "GET /api/v1/echo"]


def test_an_opaque_access_token_is_of_no_use_here(signed_in: Home, configured: Configured, registry: Registry) -> None:
    registry.opaque = True
    with Session(configured()) as session:
        assert session.me().user.email == USER


def test_a_sign_in_that_ended_says_how_to_sign_in_again(signed_in: Home, configured: Configured, registry: Registry) -> None:
    registry.refresh_tokens.clear()
    with Session(configured()) as session, pytest.raises(Unauthenticated) as caught:
        session.call("GET", "/api/v1/echo")
    assert caught.value.message == "Authentication failed: the sign-in has ended (used or unknown)"
    assert caught.value.hint == "sign in again with `astrarium auth login`"


def test_a_session_token_is_used_until_it_ends(home: Home, configured: Configured, registry: Registry) -> None:
    registry.identities.add("session-1")
    kept = Credential(auth_mode="local", registry_url=registry.url, session_token="session-1", session_expires_at=4e9)
    home.keep_credential("central", USER, kept)
    with Session(configured()) as session:
        assert session.place() == Place(TEAM, DEV)
    ended = Credential(auth_mode="local", registry_url=registry.url, session_token="session-1", session_expires_at=1.0)
    home.keep_credential("central", USER, ended)
    with Session(configured()) as session, pytest.raises(Unauthenticated, match="the sign-in has ended"):
        session.me()


def test_a_sign_in_is_for_one_address(signed_in: Home, configured: Configured, registry: Registry) -> None:
    """A project's file gives `central` another address: our tokens do not go there."""
    project = signed_in.folder / "project"
    (project / ".astrarium").mkdir(parents=True)
    evil = registry.url.replace("127.0.0.1", "localhost")
    (project / ".astrarium" / "config.toml").write_text(f'[registry.central]\nurl = "{evil}"\n')
    signed_in.keep_access_token("central", USER, TEAM, AccessToken("secret", 4e9))
    with Session(configured(cwd=project)) as session:
        assert session.config.registry_url == evil
        assert session.identity.kind == "nobody"
        with pytest.raises(Unauthenticated, match=r"^Authentication failed: Not authenticated"):
            session.me()
    assert all("authorization" not in headers for *_, headers, _ in registry.seen)


def test_stardags_sign_in_is_used_where_stardag_has_that_address(home: Home, configured: Configured, registry: Registry) -> None:
    folder = home.foreign / "credentials"
    folder.mkdir(parents=True)
    registry.refresh_tokens.add("theirs")
    text = f'{{"token_endpoint": "{registry.url}/token", "client_id": "stardag-sdk", "refresh_token": "theirs"}}'
    (folder / "central__ada_at_example.com.json").write_text(text)
    with Session(configured()) as session:
        assert session.me().user.email == USER
    assert (folder / "central__ada_at_example.com.json").read_text() == text
    assert home.credential_file("central", USER) == home.own / "credentials" / "central__ada_at_example.com.json"


def test_without_a_credential_none_is_sent(home: Home, configured: Configured, registry: Registry) -> None:
    registry.auth_mode = "none"
    with Session(configured(environment="prod")) as session:
        assert session.call("GET", "/api/v1/echo", scoped=True)["query"] == {"environment_id": PROD}
    home.write_config("")
    with Session(configured(registry_url=registry.url)) as session:  # the server knows where
        assert session.call("GET", "/api/v1/echo", scoped=True)["query"] == {}
    assert not any("authorization" in headers for *_, headers, _ in registry.seen)


@pytest.mark.parametrize(("given", "found"), [
    ({"workspace": "team", "environment": "prod"}, Place(TEAM, PROD)),
    ({"workspace": TEAM, "environment": PROD}, Place(TEAM, PROD)),
    ({"workspace": PROD}, Place(TEAM, PROD)),
    ({"workspace": "Team", "environment": "dev"}, Place(TEAM, DEV)),
])  # fmt: skip
def test_a_place_is_named_by_slug_or_id(signed_in: Home, configured: Configured, given: dict[str, str], found: Place) -> None:
    with Session(configured(**given)) as session:
        assert session.place() == found


@pytest.mark.parametrize(("given", "message", "command"), [
    ({"workspace": "other"}, "Workspace not found: 'other' is none you are a member of; known are team", "config show"),
    ({"workspace": TEAM}, "Environment not found: none is named; known are dev, prod", "config list environments"),
    ({"environment": "test"}, "Environment not found: 'test'; known are dev, prod", "config list environments"),
])  # fmt: skip
def test_a_place_that_is_not_there_says_what_is(
    signed_in: Home, configured: Configured, given: dict[str, str], message: str, command: str
) -> None:
    with Session(configured(**given)) as session, pytest.raises(NotFound) as caught:
        session.place()
    assert caught.value.message == message
    assert f"astrarium {command}" in caught.value.hint


def test_the_usual_environment_is_called_default(signed_in: Home, configured: Configured, registry: Registry) -> None:
    registry.environments[TEAM].append(registry.environment("00000000-0000-0000-0000-000000000007", "default"))
    with Session(configured(workspace=TEAM)) as session:
        assert session.place().environment_id.endswith("7")


@pytest.mark.parametrize(("status", "document", "kind", "message"), [
    (401, {"detail": "Invalid API key"}, Unauthenticated, "Authentication failed: Invalid API key"),
    (403, {"detail": "Requires admin role or higher"}, Forbidden, "Requires admin role or higher"),
    (403, {"detail": "Environment does not belong to your workspace"}, NotFound, "Workspace not found: Environment does not belong"),
    (404, {"detail": "Build not found"}, NotFound, "Build not found"),
    (404, {"detail": "Workspace not found"}, NotFound, "Workspace not found"),
    (404, {"detail": "Not Found"}, NotFound, "is not known there"),
    (409, {"detail": "Lock not found or not owned by caller"}, Conflict, "Lock not found"),
    (423, {"detail": {"status": "held_by_other", "error_message": "held"}}, Held, "held"),
    (429, {"detail": {"status": "concurrency_limit_reached", "error_message": "limit"}}, TooOften, "limit"),
    (422, {"detail": [{"type": "x", "loc": ["body", "slug"], "msg": "too short"}]}, Invalid, "too short"),
])  # fmt: skip
def test_a_refusal_is_an_error_of_its_kind(
    configured: Configured, registry: Registry, monkeypatch: pytest.MonkeyPatch, status: int, document: object, kind: type,
    message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(registry, "answer", lambda *_: (status, document))
    with Session(configured(api_key=KEY)) as session:
        with pytest.raises(AstrariumError, match=message) as caught:
            session.call("POST", "/api/v1/echo")
        assert type(caught.value) is kind
        assert caught.value.details == {"status": status, "answer": document}
        assert session.send("POST", "/api/v1/echo").status == status
    assert caught.value.hint or not caught.value.message.startswith(("Authentication", "Workspace not found"))


def test_what_may_be_repeated_is_repeated(configured: Configured, registry: Registry, naps: list[float]) -> None:
    with Session(configured(api_key=KEY)) as session:
        registry.broken = [503, 502, 504]
        assert session.send("GET", "/api/v1/echo").status == 200
        assert naps == [0.5, 1.0, 2.0]
        registry.broken = [503]
        assert session.send("POST", "/api/v1/echo").status == 503
        registry.broken = [503]
        assert session.send("POST", "/api/v1/echo", repeatable=True).status == 200
        registry.broken = [503] * 9
        with pytest.raises(Unavailable, match="for the moment"):
            session.call("GET", "/api/v1/echo")
        assert len(registry.broken) == 9 - 5


def test_a_server_that_asks_to_wait_is_waited_for(
    configured: Configured, registry: Registry, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([("3", 429), ("", 429), ("999", 429)])
    with Session(configured(api_key=KEY)) as session:
        whole = session._client.request

        def limited(*args: object, **more: object) -> object:
            response = whole(*args, **more)  # type: ignore[arg-type]
            wait, response.status_code = next(answers, ("", 200))
            response.headers["retry-after"] = wait
            return response

        monkeypatch.setattr(session._client, "request", limited)
        assert session.send("POST", "/api/v1/echo").status == 429  # the second one did not ask to wait
        assert naps == [3.0]
        assert session.send("POST", "/api/v1/echo").status == 429  # too long
        assert naps == [3.0]


def test_a_server_that_is_not_there_is_told_with_its_address(configured: Configured, naps: list[float]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Session(configured(registry_url=url, api_key=KEY)) as session, pytest.raises(Unavailable) as caught:
            session.call("POST", "/api/v1/builds")  # it never arrived, so it may be sent again
    assert url in caught.value.message
    assert len(naps) == 4


def test_a_post_that_may_have_arrived_is_not_sent_twice(configured: Configured, naps: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Session(configured(registry_url=url, api_key=KEY, timeout_s=0.05)) as session:
            with pytest.raises(Unavailable, match="does not answer"):
                session.call("POST", "/api/v1/builds")
            assert naps == []
            with pytest.raises(Unavailable):
                session.call("GET", "/api/v1/builds")
            assert len(naps) == 4


def test_big_bodies_are_packed(configured: Configured, registry: Registry) -> None:
    body = {"text": "x" * 50_000}
    with Session(configured(api_key=KEY)) as session:
        assert session.call("POST", "/api/v1/echo", body=body)["body"] == body
        assert session.call("POST", "/api/v1/echo", body={"text": "x"})["body"] == {"text": "x"}
    packed, plain = registry.seen[-2:]
    assert packed[3]["content-encoding"] == "gzip"
    assert int(packed[3]["content-length"]) < 1000
    assert "content-encoding" not in plain[3]


def test_without_a_registry_the_way_to_one_is_told(configured: Configured, home: Home) -> None:
    home.write_config("")
    with pytest.raises(Invalid) as caught:
        Session(configured())
    assert caught.value.message == "no registry is configured"
    assert "astrarium auth login" in caught.value.hint


def test_several_processes_renew_one_after_the_other(signed_in: Home, configured: Configured, registry: Registry) -> None:
    """Each with its own session, as in processes: the refresh token is good for one use, and one of them uses it."""
    from concurrent.futures import ThreadPoolExecutor

    def work(_: int) -> object:
        with Session(configured(workspace=TEAM, environment=DEV)) as session:
            return session.call("GET", "/api/v1/echo")

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(work, range(8)))) == 8
    assert registry.paths().count("POST /token") == 1
    assert registry.paths().count("POST /api/v1/auth/exchange") == 1


def test_the_same_on_an_event_loop(signed_in: Home, configured: Configured, registry: Registry) -> None:
    async def work() -> None:
        async with AsyncSession(configured(), retry=Retry(limit=2)) as session:
            assert (await session.call("GET", "/api/v1/echo", scoped=True))["query"] == {"environment_id": DEV}
            registry.access.clear()
            registry.broken = [503]
            assert (await session.send("GET", "/api/v1/echo")).status == 200
            registry.broken = [503]
            with pytest.raises(Unavailable):
                await session.call("POST", "/api/v1/echo")

    asyncio.run(work())
