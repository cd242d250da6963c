"""A fact as rules see it, with its rank: the later it was said, the higher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Seen(msgspec.Struct, frozen=True):
    """`slots` by name; a field of the state has the one slot `value`."""

    rank: int
    template: str
    slots: Mapping[str, Any]
