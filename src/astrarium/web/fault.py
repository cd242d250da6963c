"""A fault of one request, as surfaces are told of it; free of the web framework, so that what only names it stays light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..errors import Problem


class Fault(msgspec.Struct, frozen=True):
    """What went wrong with one request, before any surface has put it into its own words.

    `routed` is false when no route was found: the path or method is unknown, which is not the same as a missing resource."""

    status: int
    code: str
    message: str
    hint: str = ""
    problems: tuple[Problem, ...] = ()
    details: Mapping[str, Any] = {}
    error_id: str = ""
    routed: bool = True
    headers: Mapping[str, str] = {}


Shaper = Callable[[Fault], tuple[int, Any]]
"""Gives the status and the JSON body by which a surface answers a fault."""
