"""Passwords: what they must be, their argon2id hashes, and how often one may be tried.

Hashing takes tens of milliseconds and 19 MiB by intent, so it happens in two threads of its own: sign-ins wait for each other, nobody
else waits for them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ...errors import Invalid, Problem

MIN_LENGTH = 8
MAX_LENGTH = 1024
THREADS = 2
TIME_COST, MEMORY_KIB, LANES = 2, 19 * 1024, 1
"""The second of the parameter sets OWASP recommends for argon2id."""

TRIES_HERE, HERE_S = 10, 300
"""Tries of one name from one address, in so many seconds."""
TRIES_ANYWHERE, ANYWHERE_S = 30, 900
NAMES_KEPT = 10_000
SECOND = 1_000_000

K = TypeVar("K")
V = TypeVar("V")


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


class Attempts:
    """Sign-ins by password that were tried: so many of one name from one address, and so many of one name from anywhere (Stardag). An
    address from which the name signed in before keeps its own count only, so a stranger cannot lock out who is at home there. Unknown
    names are treated alike: a pause tells nobody whether there is such a user. Kept in this process; times are microseconds."""

    def __init__(self) -> None:
        self._here: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        self._anywhere: OrderedDict[str, list[int]] = OrderedDict()
        self._at_home: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, name: str, address: str, now: int) -> int:
        """Count a try, before it is known how it ends; else the whole seconds it has to wait."""
        pair, at_home = (name, address), (name, address) in self._at_home
        here, anywhere = _since(self._here, pair, now - HERE_S * SECOND), _since(self._anywhere, name, now - ANYWHERE_S * SECOND)
        waits = [0]
        if len(here) >= TRIES_HERE:
            waits.append(here[-TRIES_HERE] + HERE_S * SECOND - now)
        if len(anywhere) >= TRIES_ANYWHERE and not at_home:
            waits.append(anywhere[-TRIES_ANYWHERE] + ANYWHERE_S * SECOND - now)
        if max(waits):
            return -(-max(waits) // SECOND)
        _keep(self._here, pair, [*here, now])
        if not at_home:
            _keep(self._anywhere, name, [*anywhere, now])
        return 0

    def succeeded(self, name: str, address: str) -> None:
        """The last try was the user's own."""
        self._here.pop((name, address), None)
        _keep(self._at_home, (name, address), None)


def _since(kept: OrderedDict[K, list[int]], key: K, after: int) -> list[int]:
    return [at for at in kept.get(key, ()) if at > after]


def _keep(kept: OrderedDict[K, V], key: K, value: V) -> None:
    """The latest ones are kept."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > NAMES_KEPT:
        kept.popitem(last=False)
