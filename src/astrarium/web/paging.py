"""Pages of lists: reading `page` and the page size from a query, what a list says about its pages, and cursors, by which a list goes on
after the last row that was told."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import Invalid, Problem

LAST_PAGE = 1_000_000_000
_CURSOR = "must be the cursor that an earlier page of the same list gave"


class Page(msgspec.Struct, frozen=True):
    """Which page is asked for; `number` counts from 1."""

    number: int = 1
    size: int = 50

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size


class Pages(msgspec.Struct, frozen=True):
    """What a list says about itself. `last` is at least 1; `previous` and `next` are None at the ends."""

    total: int
    current: int
    last: int
    previous: int | None
    next: int | None


def parse_page(
    query: Mapping[str, str], *, size: int = 50, most: int = 1000, cap: int = 0, names: tuple[str, str] = ("page", "perPage")
) -> Page:
    """Read the page asked for. A size above `most` is refused; one above `cap` is answered with `cap` items (0 = no cap).

    Raises `Invalid` with a problem for each wrong parameter.
    """
    problems: list[Problem] = []
    number = _whole(query, names[0], 1, LAST_PAGE, problems)
    asked = _whole(query, names[1], size, most, problems)
    if problems:
        raise Invalid("; ".join(problem.message for problem in problems), problems)
    return Page(number, min(asked, cap) if cap else asked)


def parse_limit(query: Mapping[str, str], name: str = "limit", *, default: int, most: int) -> int:
    """Read one count between 1 and `most`."""
    problems: list[Problem] = []
    limit = _whole(query, name, default, most, problems)
    if problems:
        raise Invalid(problems[0].message, problems)
    return limit


def _whole(query: Mapping[str, str], name: str, default: int, most: int, problems: list[Problem]) -> int:
    text = query.get(name, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 12 and 1 <= int(text) <= most:
        return int(text)
    problems.append(Problem(f"{name} must be a whole number from 1 to {most:,}, not {text[:40]!r}", path=name))
    return default


def pages(page: Page, total: int) -> Pages:
    """Place `page` in a list of `total` items."""
    last = max(1, -(-total // page.size))
    previous = min(page.number - 1, last) if page.number > 1 else None
    return Pages(total, page.number, last, previous, page.number + 1 if page.number < last else None)


def write_cursor(of: str, *values: int | str) -> str:
    """Where a list goes on: what its last row is sorted by, unreadable on purpose. `of` names the list and its order."""
    return base64.urlsafe_b64encode(msgspec.json.encode((of, *values))).decode().rstrip("=")


def read_cursor(text: str, of: str, *kinds: type[int] | type[str]) -> tuple[Any, ...]:
    """The values in a cursor of this list, one of each kind. Raises `Invalid` for what no page of it gave."""
    try:
        found = msgspec.json.decode(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), type=list[int | str])
    except (ValueError, msgspec.MsgspecError):
        found = []
    if [type(value) for value in found] != [str, *kinds] or found[0] != of or not all(map(_is_kept, found)):
        raise Invalid(f"cursor {_CURSOR}", [Problem(_CURSOR, path="query.cursor")])
    return tuple(found[1:])


def _is_kept(value: int | str) -> bool:
    """Whether a store has such values at all."""
    return "\0" not in value if isinstance(value, str) else -(2**63) <= value < 2**63
