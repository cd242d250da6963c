"""Passwords: hashes, what may be one, and the pause after failures."""

from __future__ import annotations

import pytest

from astrarium.errors import Invalid
from astrarium.surfaces.tenancy import password
from astrarium.surfaces.tenancy.password import (
    ANYWHERE_S,
    HERE_S,
    TRIES_ANYWHERE,
    TRIES_HERE,
    Attempts,
    Passwords,
    check_password,
)

SECOND = 1_000_000


async def test_a_hash_tells_the_right_password_only() -> None:
    passwords = Passwords()
    verifier = await passwords.make("correct horse \ud800")
    assert verifier.startswith("$argon2id$") and "correct" not in verifier
    assert await passwords.make("correct horse \ud800") != verifier, "salted"
    assert await passwords.matches(verifier, "correct horse \ud800")
    assert not await passwords.matches(verifier, "correct horse")
    passwords.close()


async def test_nobody_and_a_broken_hash_match_nothing() -> None:
    passwords = Passwords()
    assert not await passwords.matches("", "nobody has this password")
    assert not await passwords.matches("no hash", "x")
    passwords.close()


@pytest.mark.parametrize("text", ["", "1234567", "x" * 1025])
def test_too_short_and_too_long_ones_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="8 to 1024") as caught:
        check_password(text, "newPassword")
    assert caught.value.problems[0].path == "newPassword"


def test_a_name_is_tried_so_often_from_one_address() -> None:
    attempts, now = Attempts(), 0
    for _ in range(TRIES_HERE):
        assert attempts.begin("bob", "a", now) == 0
    assert attempts.begin("bob", "a", now + SECOND) == HERE_S - 1, "what has to wait is not counted"
    assert attempts.begin("bob", "b", now) == 0 and attempts.begin("eve", "a", now) == 0
    assert attempts.begin("bob", "a", now + (HERE_S - 1) * SECOND) == 1
    assert attempts.begin("bob", "a", now + HERE_S * SECOND) == 0


def test_a_good_sign_in_frees_its_address() -> None:
    attempts = Attempts()
    for _ in range(3 * TRIES_HERE):
        assert attempts.begin("bob", "a", 0) == 0
        attempts.succeeded("bob", "a")


def test_strangers_do_not_lock_out_who_is_at_home_somewhere() -> None:
    attempts = Attempts()
    assert attempts.begin("bob", "home", 0) == 0
    attempts.succeeded("bob", "home")
    tried = [attempts.begin("bob", f"stranger {number}", SECOND) for number in range(TRIES_ANYWHERE + 5)]
    assert tried.count(0) == TRIES_ANYWHERE - 1 and set(tried) == {0, ANYWHERE_S - 1}
    for _ in range(TRIES_HERE):
        assert attempts.begin("bob", "home", SECOND) == 0
    assert attempts.begin("bob", "home", SECOND) == HERE_S, "but from there, too, it is tried so often only"
    assert attempts.begin("bob", "elsewhere", SECOND) == ANYWHERE_S - 1
    assert attempts.begin("bob", "elsewhere", (ANYWHERE_S + 1) * SECOND) == 0


def test_names_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password, "NAMES_KEPT", 3)
    attempts = Attempts()
    for _ in range(TRIES_HERE):
        attempts.begin("bob", "a", 0)
    for name in ("x", "y"):
        attempts.begin(name, "a", 0)
    assert attempts.begin("bob", "a", 0)
    attempts.begin("z", "a", 0)
    assert attempts.begin("bob", "a", 0) == 0
