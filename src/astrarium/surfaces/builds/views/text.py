"""How times and ids are shown."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from functools import lru_cache

from ....spec.ids import new_id

_EPOCH = datetime(1970, 1, 1)


def moment(micros: int) -> str:
    """ISO 8601 in UTC, with microseconds."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()


def moment_or_none(micros: int) -> str | None:
    """0 = never."""
    return moment(micros) if micros else None


def event_id(stream: str, seq: int, at: int) -> str:
    """The UUID of an event: always the same one, and later ones are greater."""
    return new_id(at, hashlib.sha256(f"{stream}/{seq}".encode()).digest())
