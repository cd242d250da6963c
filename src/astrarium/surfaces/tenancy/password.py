"""Passwords: what they must be, their argon2id hashes, and the pause after repeated failures.

Hashing takes tens of milliseconds and 19 MiB by intent, so it happens in two threads of its own: sign-ins wait for each other, nobody
else waits for them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ...errors import Invalid, Problem

MIN_LENGTH = 8
MAX_LENGTH = 1024
THREADS = 2
TIME_COST, MEMORY_KIB, LANES = 2, 19 * 1024, 1
"""The second of the parameter sets OWASP recommends for argon2id."""

FAILURES_FREE = 5
"""Failures in a row after which a name has to wait."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30, 900
NAMES_KEPT = 10_000


def check_password(text: str, path: str = "password") -> str:
    """The password, if it may be one. Raises `Invalid`."""
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH:
        problem = Problem(f"must have {MIN_LENGTH} to {MAX_LENGTH} characters", path=path)
        raise Invalid(f"the password {problem.message}", [problem], hint="choose a longer one" if len(text) < MIN_LENGTH else "")
    return text


class Passwords:
    """Makes and checks hashes. `close` ends its threads."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(TIME_COST, MEMORY_KIB, LANES)
        self._threads = ThreadPoolExecutor(THREADS, "astrarium-password")
        self._decoy = ""

    async def make(self, text: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, _clean(text))

    async def matches(self, verifier: str, text: str) -> bool:
        """Whether the text is the password. An empty verifier (nobody has that name) takes as long as any other."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._matches, verifier, _clean(text))

    def _matches(self, verifier: str, text: bytes) -> bool:
        if not verifier and not self._decoy:
            self._decoy = self._hasher.hash(b"nobody has this password")
        try:
            self._hasher.verify(verifier or self._decoy, text)
        except (VerificationError, InvalidHashError):
            return False
        return bool(verifier)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _clean(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class Lockout:
    """Names whose sign-in failed again and again have to wait, twice as long each further time. Unknown names are treated alike, so
    a pause tells nobody whether there is such a user. Kept in this process: a restart forgets it. Times are microseconds."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def wait_s(self, name: str, now: int) -> int:
        """Whole seconds the name has to wait still; 0 = it may try."""
        _, until = self._failures.get(name, (0, 0))
        return max(0, -((now - until) // 1_000_000))

    def failed(self, name: str, now: int) -> None:
        count = self._failures.pop(name, (0, 0))[0] + 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S << min(count - FAILURES_FREE, 10)) if count >= FAILURES_FREE else 0
        self._failures[name] = (count, now + pause_s * 1_000_000)
        if len(self._failures) > NAMES_KEPT:
            self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        self._failures.pop(name, None)
