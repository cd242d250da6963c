"""What all shapes of the DAG API are made of, and the few that belong to no noun."""

from __future__ import annotations

from typing import Any

import msgspec


class Wire(msgspec.Struct, omit_defaults=True, rename="camel"):
    """An answer."""


class Ask(msgspec.Struct, rename="camel"):
    """A request's body; fields it does not know are ignored, as Dagu 1.30 does."""


class Error(Wire):
    code: str
    message: str
    details: dict[str, Any] = {}


class Pagination(Wire):
    total_records: int
    current_page: int
    total_pages: int
    next_page: int | None
    prev_page: int | None


class Errors(Wire):
    errors: list[str]


class Named(Wire):
    name: str
