"""Which values of a document can be searched for: its scalars, each under its path."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from .filter import read_number

MOST_VALUES = 200
"""Scalars of one document that can be searched for; those after them cannot."""
MOST_DEPTH = 12
MOST_KEY_CHARS = 200
MOST_TEXT_CHARS = 256
"""Longer texts are found by their beginning."""


Kind = Literal["string", "number", "boolean"]


class Value(msgspec.Struct, frozen=True):
    """A scalar under its path. `text` is what it is compared with by `=` and `~` (`true` and `false` for booleans, `2` for 2),
    `number` what by order: None where it is no finite number; a text that looks like a number is compared as one (Stardag)."""

    path: str
    text: str
    number: float | None
    kind: Kind


def values_of(document: Any) -> list[Value]:
    """The scalars of a JSON document in document order, at most `MOST_VALUES`, under paths such as `a.b` and `list[0].k`."""
    found: list[Value] = []
    for path, scalar in _walk(document, "", 0):
        if len(path) <= MOST_KEY_CHARS:
            found.append(_value(path, scalar))
        if len(found) == MOST_VALUES:
            break
    return found


def _walk(node: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > MOST_DEPTH:
        return
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _walk(child, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(node, list):
        for position, child in enumerate(node):
            yield from _walk(child, f"{path}[{position}]", depth + 1)
    elif node is not None and path:
        yield path, node


def _value(path: str, scalar: Any) -> Value:
    if isinstance(scalar, bool):
        return Value(path, "true" if scalar else "false", None, "boolean")
    if isinstance(scalar, str):
        number = read_number(scalar) if len(scalar) <= 40 else math.nan
        return Value(path, scalar[:MOST_TEXT_CHARS], None if math.isnan(number) else number, "string")
    text = msgspec.json.encode(scalar).decode()
    number = read_number(text)
    return Value(path, text, None if math.isnan(number) else number, "number")


def read_values(data: bytes) -> list[Value]:
    """What can be searched for in a JSON text: how the things of this surface are decoded."""
    return values_of(msgspec.json.decode(data))
