"""Rules of the fields clients send. Raises `Invalid`, with the place of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Raw, json

from ...errors import Invalid, Problem

ID_MAX, NAME_MAX, TEXT_MAX, LOCK_MAX = 64, 255, 65_536, 255
TTL_MAX_S = 86_400
BULK_MAX, ASSETS_MAX = 1000, 100
_SEGMENT = re.compile(r"[^\x00-\x1f\x7f/\ud800-\udfff]+")


def wrong(told: str, path: str) -> Invalid:
    return Invalid(f"{path}: {told}", [Problem(told, path=path)])


def check_id(text: str, path: str, most: int = ID_MAX) -> str:
    """A name that is a part of a path: no slash, no control character."""
    if len(text) > most or not _SEGMENT.fullmatch(text):
        raise wrong(f"must have 1 to {most} characters, none of them a slash or a control character", path)
    return text


def check_ids(texts: Iterable[str], path: str) -> tuple[str, ...]:
    """Ids of tasks, each once, in their order."""
    return tuple(dict.fromkeys(check_id(text, f"{path}.{place}") for place, text in enumerate(texts)))


def check_text(text: str | None, path: str, most: int = TEXT_MAX, least: int = 0) -> str | None:
    if text is not None and not least <= len(text) <= most:
        raise wrong(f"must have {least} to {most} characters", path)
    return text


def check_object(raw: Raw, path: str) -> bytes:
    """A JSON object as it was sent, without blanks between its parts: what is the same has one hash."""
    data = json.format(bytes(raw), indent=-1)
    if not data.startswith(b"{"):
        raise wrong("Input should be a valid dictionary", path)
    try:
        data.decode()
    except UnicodeDecodeError:
        raise wrong("must be UTF-8", path) from None
    return data


def check_ttl(seconds: int) -> int:
    if not 1 <= seconds <= TTL_MAX_S:
        raise wrong(f"must be 1 to {TTL_MAX_S} seconds", "ttl_seconds")
    return seconds


def check_most(count: int, most: int, path: str) -> None:
    if count > most:
        raise wrong(f"at most {most} at once", path)
