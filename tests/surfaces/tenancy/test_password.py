"""Passwords: hashes, what may be one, and the pause after failures."""

from __future__ import annotations

import pytest

from astrarium.errors import Invalid
from astrarium.surfaces.tenancy.password import FAILURES_FREE, FIRST_PAUSE_S, LONGEST_PAUSE_S, Lockout, Passwords, check_password

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


def test_repeated_failures_make_a_name_wait_longer_each_time() -> None:
    lockout, now = Lockout(), 0
    for _ in range(FAILURES_FREE - 1):
        lockout.failed("bob", now)
        assert lockout.wait_s("bob", now) == 0
    waits = []
    for _ in range(8):
        lockout.failed("bob", now)
        waits.append(lockout.wait_s("bob", now))
    assert waits[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S] and waits[-1] == LONGEST_PAUSE_S
    assert lockout.wait_s("eve", now) == 0
    assert lockout.wait_s("bob", now + (LONGEST_PAUSE_S - 1) * SECOND) == 1
    assert lockout.wait_s("bob", now + LONGEST_PAUSE_S * SECOND) == 0
    lockout.succeeded("bob")
    lockout.failed("bob", now)
    assert lockout.wait_s("bob", now) == 0
