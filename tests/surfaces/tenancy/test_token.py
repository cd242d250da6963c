"""The server's secrets, and what is made with them."""

from __future__ import annotations

import hmac
import stat
from pathlib import Path
from typing import Any

import jwt
import pytest

from astrarium.errors import Invalid, Unavailable
from astrarium.surfaces.tenancy.token import KeyRing, Session, new_key, open_ring, rotate

SESSION = Session("u1", "personal", 3, 2_000_000_000_000_000)


def test_the_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    first = open_ring(tmp_path / "keys", "")
    assert stat.S_IMODE((tmp_path / "keys" / "master.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["master.key"]
    assert open_ring(tmp_path / "keys", "").present == first.present


def test_a_new_secret_takes_over_and_old_work_stays_valid(tmp_path: Path) -> None:
    old = open_ring(tmp_path, "")
    sealed, token = old.seal("sk_x"), old.sign(SESSION, 0)
    rotate(tmp_path)
    ring = open_ring(tmp_path, "")
    assert ring.present != old.present
    assert ring.opens(sealed, "sk_x") and ring.read(token) == SESSION
    assert ring.seal("sk_x") != sealed
    assert old.read(ring.sign(SESSION, 0)) is None, "made with a secret it does not have"
    (tmp_path / "master.key").write_text((tmp_path / "master.key").read_text().splitlines()[-1] + "\n")
    ring = open_ring(tmp_path, "")
    assert not ring.opens(sealed, "sk_x") and ring.read(token) is None


def test_the_setting_names_secrets_the_newest_first(tmp_path: Path) -> None:
    one, two = "1" * 32, "2" * 32
    assert open_ring(tmp_path, f"{two}, {one}").read(open_ring(tmp_path, one).sign(SESSION, 0)) == SESSION
    assert not (tmp_path / "master.key").exists()
    with pytest.raises(Invalid, match="32 characters") as caught:
        open_ring(tmp_path, "short")
    assert "short" not in str(caught.value)


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be used"):
        open_ring(tmp_path / "file" / "keys", "")


def test_a_seal_opens_for_its_text_only_and_compares_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(["x" * 32])
    sealed = ring.seal("sk_abc")
    compared: list[Any] = []
    original = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, two: compared.append((one, two)) or original(one, two))
    assert ring.opens(sealed, "sk_abc")
    assert not ring.opens(sealed, "sk_abd")
    assert len(compared) == 2 and all(len(one) == len(two) == 64 for one, two in compared)
    assert "sk_abc" not in sealed
    for wrong in ("", "x", "x:y", sealed.replace(":", ""), "00000000:" + sealed.partition(":")[2]):
        assert not ring.opens(wrong, "sk_abc")


def test_only_our_own_sessions_are_read() -> None:
    ring = KeyRing(["x" * 32])
    token = ring.sign(SESSION, 0)
    assert ring.read(token) == SESSION
    head, body, mark = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = {"kid": ring.present}
    forged = [
        "", "x", "a.b.c", f"{head}.{body}.", f"{head}.{body}.{mark[:-2]}AA", f"{head}.{body}",
        jwt.encode(claims, "y" * 32, "HS256", headers=kid), jwt.encode(claims, None, "none", headers=kid),
        jwt.encode(claims, "x" * 32, "HS256", headers=kid), jwt.encode(claims, "x" * 32, "HS256"),
    ]  # fmt: skip
    assert [ring.read(one) for one in forged] == [None] * len(forged)


def test_keys_have_the_one_format_of_all_surfaces() -> None:
    one, two = new_key("personal", "local"), new_key("personal", "local")
    assert one != two and one[:10] == two[:10] and len(one) == 42
    assert one.startswith("sk_") and one[9] == "_" and int(one[3:9], 16) >= 0
    assert new_key("personal", "prod")[:9] != one[:9]
