"""Identifiers: UUIDv7 for everything made inside, base58 digests for what must be found again, the rule for run ids."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time

MAX_RUN_ID = 128
RUN_ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"

_RUN_ID = re.compile(RUN_ID_PATTERN[:-1] + r"\Z")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def new_id(now_us: int, random: bytes) -> str:
    """A UUIDv7 text (RFC 9562): 48 bits of milliseconds, the rest of the microsecond in the 12 bits after them, then
    62 random bits. `now_us` is microseconds since 1970, `random` at least 8 bytes. Texts sort by time."""
    millis, rest_us = divmod(now_us, 1000)
    return _assemble(millis, (rest_us << 12) // 1000, int.from_bytes(random[:8], "big"))


def _assemble(millis: int, fraction: int, random: int) -> str:
    number = (millis & (1 << 48) - 1) << 80
    number |= 0x7 << 76 | (fraction & 0xFFF) << 64
    number |= 0b10 << 62 | random & ((1 << 62) - 1)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class _Sequence:
    """Ticks of 1/4096 ms that never repeat or go back within the process, whatever the wall clock does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def tick(self) -> int:
        now = (time.time_ns() << 12) // 1_000_000
        with self._lock:
            self._last = max(now, self._last + 1)
            return self._last


class _Randomness:
    """Random bytes of the system, asked for many at a time: each asking is a system call. A forked process asks anew."""

    SIZE = 4096

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = b""
        self._place = 0
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._bytes, self._place = b"", 0

    def take(self) -> int:
        """64 bits."""
        with self._lock:
            if self._place == len(self._bytes):
                self._bytes, self._place = os.urandom(self.SIZE), 0
            self._place += 8
            return int.from_bytes(self._bytes[self._place - 8 : self._place], "big")


_SEQUENCE = _Sequence()
_RANDOMNESS = _Randomness()


def uuid7() -> str:
    """A fresh UUIDv7 that is greater than every one this process made before. The one place here with clock and randomness."""
    tick = _SEQUENCE.tick()
    return _assemble(tick >> 12, tick & 0xFFF, _RANDOMNESS.take())


def base58(data: bytes) -> str:
    """Bitcoin-alphabet base58 of bytes, leading zero bytes kept as `1`."""
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, rest = divmod(number, 58)
        digits.append(_BASE58[rest])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(digits))


def child_run_key(parent_run_id: str, step: str, params: str) -> str:
    """The id of a child run: a function of parent, step and parameters, so a retry finds the same child again.
    Dagu 1.30: base58 of SHA-256 over the three, as `parent:step:params`."""
    return base58(hashlib.sha256(f"{parent_run_id}:{step}:{params}".encode()).digest())


def is_run_id(text: str) -> bool:
    """Whether a client may choose `text` as a run id."""
    return _RUN_ID.match(text) is not None
