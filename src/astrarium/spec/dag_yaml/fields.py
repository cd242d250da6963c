"""A typed reader over one YAML map: asks for a field by name and type, reports what does not fit, and goes on.

Dagu 1.30: keys match in any case (`exit`, `Exit`); unknown keys are errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..source import Report, YamlNode

MAX_WHOLE = 10_000_000_000
"""No count, size or number of seconds of a definition is larger: 317 years, 10 GB."""

Known = Mapping[str, str]
"""Accepted keys: lower-case spelling → the field's proper name."""


def known(*names: str, **aliases: str) -> Known:
    """The accepted keys of a map. Aliases are given as `old="proper"`."""
    table = {name.lower(): name for name in names}
    table.update({old.lower(): proper for old, proper in aliases.items()})
    return table


def scalar_text(node: YamlNode) -> str:
    """A scalar as the text a template holds: as written, but `true`/`false` in lower case and null as nothing."""
    if node.value is None:
        return ""
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    return node.text


class Fields:
    """The fields of the map at `path`. Every getter answers the default when the field is missing or wrong."""

    __slots__ = ("_path", "entries", "node", "report")

    def __init__(self, node: YamlNode, path: str, report: Report, keys: Known | None) -> None:
        self.node = node
        self._path = path
        self.report = report
        self.entries: dict[str, YamlNode] = {}
        if node.kind != "map":
            if not node.is_null:
                report.add(f"{self.place() or 'a DAG'} must be a map of fields", node, path)
            return
        for key, (key_node, value) in node.entries.items():
            proper = key if keys is None else keys.get(key.lower())
            if proper is None:
                self._unknown(key, key_node, keys or {})
            elif proper in self.entries:
                report.add(f"`{key}` gives the field `{proper}` a second time", key_node, self.at(key))
            else:
                self.entries[proper] = value

    def _unknown(self, key: str, node: YamlNode, keys: Known) -> None:
        close = self.report.suggest(key, sorted(set(keys.values())))
        self.report.add(f"unknown key `{key}`{close}", node, self.at(key))

    def place(self) -> str:
        return f"`{self._path}`" if self._path else ""

    def at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        node = self.entries.get(name)
        return node is not None and not node.is_null

    def get(self, name: str) -> YamlNode | None:
        """The field's node, or None when it is missing or null."""
        node = self.entries.get(name)
        return None if node is None or node.is_null else node

    def wrong(self, name: str, wanted: str) -> None:
        self.report.add(f"`{name}` must be {wanted}", self.entries.get(name, self.node), self.at(name))

    def text(self, name: str, default: str = "") -> str:
        node = self.get(name)
        if node is None:
            return default
        if node.kind != "scalar":
            self.wrong(name, "text")
            return default
        return scalar_text(node)

    def choice(self, name: str, choices: Iterable[str], default: str = "") -> str:
        value = self.text(name)
        if not value:
            return default
        allowed = list(choices)
        if value not in allowed:
            close = self.report.suggest(value, allowed)
            self.wrong(name, f"one of {', '.join(allowed)}, not `{value}`{close}")
            return default
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        node = self.get(name)
        if node is None:
            return default
        if not isinstance(node.value, bool):
            self.wrong(name, "true or false")
            return default
        return node.value

    def whole(self, name: str, default: int = 0, least: int | None = 0) -> int:
        """A whole number, also written as text (`"5"`)."""
        node = self.get(name)
        if node is None:
            return default
        number = whole_number(node)
        if number is None or (least is not None and number < least):
            self.wrong(name, "a whole number" + ("" if least is None else f" of at least {least}"))
            return default
        return self._bounded(name, number, default)

    def _bounded(self, name: str, number: int, default: int) -> int:
        if abs(number) <= MAX_WHOLE:
            return number
        self.wrong(name, f"at most {MAX_WHOLE:,}")
        return default

    def number_or_template(self, name: str, default: int = 0) -> int | str:
        node = self.get(name)
        if node is None:
            return default
        number = whole_number(node)
        if number is not None and number >= 0:
            return self._bounded(name, number, default)
        if node.kind == "scalar" and isinstance(node.value, str) and ("$" in node.value or "`" in node.value):
            return node.value
        self.wrong(name, "a whole number of at least 0, or text with a variable")
        return default

    def texts(self, name: str) -> tuple[str, ...]:
        """A text or a list of texts."""
        return tuple(scalar_text(node) for node in self.scalars(name, "text or a list of texts"))

    def wholes(self, name: str) -> tuple[int, ...]:
        """A whole number or a list of them."""
        numbers = []
        for node in self.scalars(name, "a whole number or a list of them"):
            number = whole_number(node)
            if number is None:
                self.report.add(f"`{name}` must hold whole numbers only, not `{node.text}`", node, self.at(name))
            else:
                numbers.append(number)
        return tuple(numbers)

    def scalars(self, name: str, wanted: str) -> list[YamlNode]:
        node = self.get(name)
        if node is None:
            return []
        if node.kind == "scalar":
            return [node]
        if node.kind == "map":
            self.wrong(name, wanted)
            return []
        good = [item for item in node.items if item.kind == "scalar"]
        if len(good) != len(node.items):
            self.wrong(name, wanted)
        return good

    def sub(self, name: str, keys: Known | None) -> Fields | None:
        """The map under a field, or None when it is missing."""
        node = self.get(name)
        return None if node is None else Fields(node, self.at(name), self.report, keys)

    def plain(self, name: str) -> Any:
        node = self.get(name)
        return None if node is None else node.plain()


def whole_number(node: YamlNode) -> int | None:
    if isinstance(node.value, bool) or node.kind != "scalar":
        return None
    if isinstance(node.value, int):
        return node.value
    text = node.text.strip()
    return int(text) if text.lstrip("-").isdecimal() and text.isascii() and len(text) < 19 and text.count("-") <= 1 else None
