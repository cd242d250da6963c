"""What is kept in the home: names, modes, whole files, and what Stardag left there."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from astrarium.config.home import AccessToken, Credential, Home, registry_key
from astrarium.errors import Invalid


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_secrets_are_for_the_owner_only(home: Home) -> None:
    path = home.keep_credential("central", "ada@example.com", Credential(session_token="s", session_expires_at=1.5))
    assert path == home.own / "credentials" / "central__ada_at_example.com.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text()) == {"session_token": "s", "session_expires_at": 1.5}
    assert "s'" not in repr(home.credential("central", "ada@example.com"))
    token = home.keep_access_token("central", "a/b:c d\\e", "w", AccessToken("t", 1.0))
    assert token.name == "central__a_b_c_d_e__w.json"
    assert list(path.parent.glob(".*")) == []


def test_theirs_is_read_where_ours_says_nothing_and_never_written(home: Home) -> None:
    theirs = home.foreign
    (theirs / "credentials").mkdir(parents=True)
    (theirs / "access-token-cache").mkdir()
    (theirs / "credentials" / "r__u.json").write_text(
        '{"auth_mode": "local", "session_token": "x", "session_expires_at": 2.5, "email": "new field"}'
    )
    (theirs / "access-token-cache" / "r__u__w.json").write_text('{"access_token": "t", "expires_at": 9.5}')
    (theirs / "id-cache.json").write_text('{"workspaces": {"r": {"s": "w"}}, "environments": {"r": {"w": {"e": "i"}}}}')
    roots = [{"registry_url": "http://x", "workspace_id": "w", "environment_id": "e", "target_roots": {"default": "/d"}}]
    (theirs / "target-root-cache.json").write_text(json.dumps(roots))
    before = {path: path.read_bytes() for path in theirs.rglob("*.json")}
    assert home.credential("r", "u") == Credential(auth_mode="local", session_token="x", session_expires_at=2.5)
    assert home.access_token("r", "u", "w") == AccessToken("t", 9.5)
    assert (home.workspace_id("r", "s"), home.environment_id("r", "w", "e")) == ("w", "i")
    assert home.target_roots("http://x/", "w", "e") == {"default": "/d"}
    home.keep_target_roots("http://x", "w", "e", {"default": "/ours"})
    home.keep_workspace_ids("r", {"s": "ours"})
    assert home.target_roots("http://x", "w", "e") == {"default": "/ours"}
    assert home.workspace_id("r", "s") == "ours"
    assert home.environment_id("r", "w", "e") == "i"
    assert home.forget() == []
    assert {path: path.read_bytes() for path in theirs.rglob("*.json")} == before


def test_forgetting_one_user_one_registry_all(home: Home) -> None:
    for key, user in (("a", "u"), ("a", "u2"), ("b", "u")):
        home.keep_credential(key, user, Credential(session_token="x"))
        home.keep_access_token(key, user, "w", AccessToken("t", 1.0))
    assert [path.name for path in home.forget("a", "u")] == ["a__u.json", "a__u__w.json"]
    assert [path.name for path in home.forget("a")] == ["a__u2.json", "a__u2__w.json"]
    assert [path.name for path in home.forget()] == ["b__u.json", "b__u__w.json"]


def test_ids_of_a_registry_are_forgotten_when_its_name_means_another(home: Home) -> None:
    home.keep_workspace_ids("a", {"s": "1"})
    home.keep_workspace_ids("b", {"s": "2"})
    home.keep_environment_ids("a", "1", {"e": "3"})
    home.forget_ids("a")
    assert (home.workspace_id("a", "s"), home.environment_id("a", "1", "e"), home.workspace_id("b", "s")) == ("", "", "2")


def test_a_broken_file_says_how_to_mend_it(home: Home) -> None:
    home.own.mkdir()
    (home.own / "id-cache.json").write_text("{")
    with pytest.raises(Invalid) as caught:
        home.workspace_id("a", "s")
    assert "id-cache.json is not as it was written" in caught.value.message
    assert "remove the file" in caught.value.hint


def test_writers_do_not_lose_each_others_entries(home: Home) -> None:
    def keep(number: int) -> None:
        home.keep_target_roots("http://x", "w", str(number), {"default": str(number)})

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(home.roots_file.read_text())) == 20


@pytest.mark.parametrize(("url", "key"), [
    ("https://api.example.com", "api.example.com"), ("http://localhost:8080/", "localhost_8080"), ("http://[::1]:80", "__1_80"),
])  # fmt: skip
def test_a_registry_without_a_name_is_called_by_its_host(url: str, key: str) -> None:
    assert registry_key(url) == key
