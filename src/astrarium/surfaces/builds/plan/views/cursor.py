"""Where a list goes on: the time and id of the last row that was told, unreadable on purpose."""

from __future__ import annotations

import base64
import binascii

from .....errors import Invalid, Problem


def write_cursor(at: int, id_: str) -> str:
    return base64.urlsafe_b64encode(f"{at} {id_}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[int, str]:
    """Raises `Invalid`."""
    try:
        at, _, id_ = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(" ")
        if not at.isascii() or not at.isdigit() or len(at) > 18 or not id_:
            raise ValueError
        return int(at), id_
    except (ValueError, binascii.Error):
        problem = Problem("must be the next_cursor of a page", path="query.cursor")
        raise Invalid(f"cursor {problem.message}", [problem]) from None
