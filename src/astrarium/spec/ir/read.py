"""Reading a document by shape: a reader takes a YAML node and gives its plain value, or tells what is wrong with it and where.

A wrong value is told and left out, so that one reading finds every defect. Places are JSON pointers (RFC 6901) into the document
as its author wrote it, with line and column where the text has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from ...errors import Problem
from ..source import MAX_DEPTH, MAX_PROBLEMS, Report, YamlNode, read_documents

_MAX_LISTED = 30


class Defect(Problem, frozen=True, omit_defaults=True):
    """A problem of a document: `path` is a JSON pointer; `expected` and `actual` say what stands there and what should.
    Stargraph 0.8: the validation error record."""

    expected: str = ""
    actual: str = ""


class Findings:
    """Collects the defects of one document. Beyond `MAX_PROBLEMS` it only counts them. `original` is what the author wrote, `tree` what
    pointers lead into from now on: the same, or what was made from it; `stands_for`: what a made value was made from, by its id."""

    def __init__(self, file: str = "") -> None:
        self.report = Report(file)
        self.original: YamlNode | None = None
        self.tree: YamlNode | None = None
        self.stands_for: dict[int, YamlNode] = {}
        self._raw: list[tuple[YamlNode | None, bool, Defect]] = []
        self._dropped = 0
        self._elsewhere: list[Defect] = []

    @property
    def count(self) -> int:
        return len(self._raw) + len(self.report.problems) + len(self._elsewhere) + self._dropped

    def adopt(self, problems: Iterable[Problem]) -> None:
        """Defects of another file, with their places."""
        for one in problems:
            if len(self._elsewhere) >= MAX_PROBLEMS:
                self._dropped += 1
                continue
            defect = one if isinstance(one, Defect) else Defect(one.message, one.path, one.file, one.line, one.column, one.hint)
            self._elsewhere.append(defect)

    def add(self, path: str, message: str, *, expected: str = "", actual: Any = None, hint: str = "", key: bool = False) -> None:
        """`key`: the place is that of the key and not of its value. `actual` is shown as JSON, shortened."""
        if len(self._raw) >= MAX_PROBLEMS:
            self._dropped += 1
            return
        shown = "" if actual is None else _shown(actual)
        self._raw.append((self.tree, key, Defect(message, path=path, hint=hint, expected=expected, actual=shown)))

    def suggest(self, word: str, known: Iterable[str]) -> str:
        return self.report.suggest(word, known)

    def finished(self) -> list[Defect]:
        """All defects in the order of their places, each told by its place in what the author wrote."""
        made = self.original is not None and self.tree is not self.original
        pointers = _Pointers(self.original) if made and self.original is not None else None
        told = [Defect(p.message, p.path, p.file, p.line, p.column, p.hint) for p in self.report.problems]
        for tree, at_key, defect in self._raw:
            path, line, column = defect.path, 0, 0
            if tree is not None:
                node, rest = _find(tree, path, at_key)
                line, column = node.line, node.column
                if pointers and tree is not self.original:
                    path = pointers.of(self.stands_for.get(id(node), node), rest, path)
            told.append(Defect(defect.message, path, self.report.file, line, column, defect.hint, defect.expected, defect.actual))
        told = sorted(dict.fromkeys(told), key=lambda one: (one.line, one.column)) + list(dict.fromkeys(self._elsewhere))
        if self._dropped or self.report.dropped:
            told.append(Defect(f"… and {self._dropped + self.report.dropped} more defects", file=self.report.file))
        return told


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else text[:119] + "…"


def listing(what: str, words: Iterable[str]) -> str:
    """`nodes are: a, b …` for a hint, not too long."""
    names = list(words)
    shown = ", ".join(names[:_MAX_LISTED]) + (f" … ({len(names)} in all)" if len(names) > _MAX_LISTED else "")
    return f"{what} are: {shown}" if names else f"there are no {what}"


def at(path: str, *parts: str | int) -> str:
    """The pointer `path` extended by keys and positions."""
    return path + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _find(root: YamlNode, path: str, at_key: bool) -> tuple[YamlNode, str]:
    """(what a pointer leads to, or as far as it leads; the rest of the pointer). With `at_key` its key."""
    node, key = root, root
    parts = path.split("/")
    for depth, part in enumerate(parts[1:], 1):
        name = part.replace("~1", "/").replace("~0", "~")
        if node.kind == "map" and name in node.entries:
            key, node = node.entries[name]
        elif node.kind == "list" and name.isdecimal() and int(name) < len(node.items):
            key = node = node.items[int(name)]
        else:
            return node, "".join("/" + one for one in parts[depth:])
    return (key if at_key else node), ""


def _last(path: str) -> str:
    return path.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


class _Pointers:
    """Where values stand in what the author wrote: the same value, else one at the same place."""

    def __init__(self, root: YamlNode) -> None:
        self._by_value: dict[int, str] = {}
        self._by_place: dict[tuple[int, int], str] = {}
        for path, node in _walk(root, ""):
            self._by_value.setdefault(id(node), path)
            if node.line and node.kind == "scalar":
                self._by_place.setdefault((node.line, node.column), path)

    def of(self, node: YamlNode, rest: str, otherwise: str) -> str:
        known = self._by_value.get(id(node))
        if known is not None:
            return known + rest
        return self._by_place.get((node.line, node.column), otherwise)


def _walk(node: YamlNode, path: str) -> Iterator[tuple[str, YamlNode]]:
    yield path, node
    for name, (key, value) in node.entries.items():
        yield at(path, name), key
        yield from _walk(value, at(path, name))
    for place, item in enumerate(node.items):
        yield from _walk(item, at(path, place))


def read_tree(text: str, found: Findings) -> YamlNode | None:
    """The one document of a text, YAML 1.2 or JSON. None when it cannot be read; `found` says why."""
    found.tree = found.original = _read_tree(text, found)
    return found.tree


def _read_tree(text: str, found: Findings) -> YamlNode | None:
    trial = Report(found.report.file)
    documents = [one for one in read_documents(text, trial) if not one.is_null]
    if trial.problems and text.lstrip()[:1] in ("{", "["):
        plain = _read_json(text)
        if plain is not None:
            return plain
    found.report.problems += trial.problems
    if len(documents) > 1:
        found.report.add("a graph is one document", documents[1], hint="put every graph in a file of its own")
    if documents:
        return documents[0]
    if not trial.problems:
        found.report.add_at("the document is empty: a graph needs `ir_version`, `id` and `nodes`", 1, 1)
    return None


def _read_json(text: str) -> YamlNode | None:
    """JSON that is no YAML (tabs between tokens, say), without places."""
    try:
        return tree_of(json.loads(text))
    except (ValueError, RecursionError):
        return None


def tree_of(value: Any, depth: int = 0) -> YamlNode:
    """The node of a plain value, without a place. Raises `ValueError` for what is nested too deep or is no JSON."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        node = YamlNode("map", 0, 0)
        for key, one in value.items():
            name = YamlNode("scalar", 0, 0)
            name.text = name.value = str(key)
            node.entries[str(key)] = (name, tree_of(one, depth + 1))
        return node
    if isinstance(value, list | tuple):
        node = YamlNode("list", 0, 0)
        node.items = [tree_of(one, depth + 1) for one in value]
        return node
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError(f"a {type(value).__name__} is no JSON value")
    node = YamlNode("scalar", 0, 0)
    node.value = value
    node.text = "" if value is None else str(value)
    return node


class _Wrong:
    """Stands for a value that was told to be wrong."""


WRONG: Final = _Wrong()
Reader = Callable[[YamlNode, str, Findings], Any]
"""Gives the plain value of a node, or `WRONG` after telling what is wrong."""


class Key(NamedTuple):
    """How the value under a key is read, and whether it must be there."""

    read: Reader
    required: bool = False


Shape = Mapping[str, Key]


def refuse(node: YamlNode, path: str, found: Findings, wanted: str, hint: str = "") -> Any:
    found.add(path, f"{_place(path)} must be {wanted}", expected=wanted, actual=node.plain(), hint=hint)
    return WRONG


def _place(path: str) -> str:
    above, _, last = path.rpartition("/")
    if last.isdecimal():
        last = f"{_last(above)}[{last}]"
    return f"`{last}`" if path else "the document"


def text(node: YamlNode, path: str, found: Findings) -> Any:
    if isinstance(node.value, str) and node.kind == "scalar":
        return node.value
    quoted = node.kind == "scalar" and node.value is not None
    return refuse(node, path, found, "text", f'put it in quotes: "{node.text}"' if quoted else "")


def filled(node: YamlNode, path: str, found: Findings) -> Any:
    value = text(node, path, found)
    return refuse(node, path, found, "text that is not empty") if value == "" else value


def matching(pattern: str, wanted: str) -> Reader:
    compiled = re.compile(pattern)

    def read(node: YamlNode, path: str, found: Findings) -> Any:
        value = text(node, path, found)
        return value if value is WRONG or compiled.fullmatch(value) else refuse(node, path, found, wanted)

    return read


def flag(node: YamlNode, path: str, found: Findings) -> Any:
    return node.value if isinstance(node.value, bool) else refuse(node, path, found, "true or false")


def whole(least: int, most: int) -> Reader:
    def read(node: YamlNode, path: str, found: Findings) -> Any:
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        return refuse(node, path, found, f"a whole number from {least} to {most}")

    return read


def number(least: float, most: float) -> Reader:
    def read(node: YamlNode, path: str, found: Findings) -> Any:
        value = node.value
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
            return value
        return refuse(node, path, found, f"a number from {least:g} to {most:g}")

    return read


def decimal(least: str, most: str) -> Reader:
    """A number that is kept exactly, as text: `0.05` or "0.05"."""

    def read(node: YamlNode, path: str, found: Findings) -> Any:
        plain = node.value if not isinstance(node.value, bool) and isinstance(node.value, str | int | float) else ""
        try:
            number = Decimal(str(plain))
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite() and Decimal(least) <= number <= Decimal(most):
            return format(number.normalize(), "f")
        return refuse(node, path, found, f"a decimal number from {least} to {most}")

    return read


def one_of(*words: str) -> Reader:
    def read(node: YamlNode, path: str, found: Findings) -> Any:
        if node.kind == "scalar" and node.value in words:
            return node.value
        near = found.suggest(node.text, words) if node.kind == "scalar" else ""
        return refuse(node, path, found, f"one of {', '.join(words)}", near.removeprefix(", "))

    return read


def anything(node: YamlNode, path: str, found: Findings) -> Any:
    return node.plain()


def mapping(node: YamlNode, path: str, found: Findings) -> Any:
    return node.plain() if node.kind == "map" else refuse(node, path, found, "a mapping")


def listed(item: Reader, blank: Any, least: int = 0) -> Reader:
    """A list of what `item` reads. `blank` stands for a wrong item, so that the others keep their places."""

    def read(node: YamlNode, path: str, found: Findings) -> Any:
        if node.kind != "list":
            return refuse(node, path, found, "a list")
        if len(node.items) < least:
            return refuse(node, path, found, f"a list of at least {least}")
        values = [item(one, at(path, place), found) for place, one in enumerate(node.items)]
        return [blank if value is WRONG else value for value in values]

    return read


def by_name(item: Reader) -> Reader:
    """A mapping from any name to what `item` reads."""

    def read(node: YamlNode, path: str, found: Findings) -> Any:
        if node.kind != "map":
            return refuse(node, path, found, "a mapping")
        values = {name: item(value, at(path, name), found) for name, (_, value) in node.entries.items()}
        return {name: value for name, value in values.items() if value is not WRONG}

    return read


def either(scalar: Reader, composed: Reader) -> Reader:
    """`composed` for a mapping or list, `scalar` for anything else."""

    def read(node: YamlNode, path: str, found: Findings) -> Any:
        return (scalar if node.kind == "scalar" else composed)(node, path, found)

    return read


def shaped(shape: Shape) -> Reader:
    """A mapping with these keys and no others. Null under a key that may be missing is as if it were missing."""

    def read(node: YamlNode, path: str, found: Findings) -> Any:
        if node.kind != "map":
            return refuse(node, path, found, "a mapping")
        return read_shape(node, path, found, shape)

    return read


def read_shape(node: YamlNode, path: str, found: Findings, shape: Shape) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, (_, value) in node.entries.items():
        key = shape.get(name)
        if key is None:
            near = found.suggest(name, shape)
            said = f"unknown key `{name}`{near}"
            found.add(at(path, name), said, expected=f"one of {', '.join(shape)}", actual=name, key=True)
        elif not value.is_null:
            read = key.read(value, at(path, name), found)
            if read is not WRONG:
                values[name] = read
    for name, key in shape.items():
        if key.required and (name not in node.entries or node.entries[name][1].is_null):
            found.add(at(path, name), f"`{name}` is missing", expected=name, hint=f"add `{name}:` here")
    return values


_SPAN = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_MOST_S = 366 * 24 * 3600.0


def span_s(value: Any) -> float | None:
    """A duration in seconds, from a number of seconds or ISO 8601 (`PT30S`, `P1DT2H`); None when it is neither, or above a year."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if 0 <= value <= _MOST_S else None
    match = _SPAN.fullmatch(value) if isinstance(value, str) and len(value) <= 32 else None
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return total if total <= _MOST_S else None


def span(node: YamlNode, path: str, found: Findings) -> Any:
    """A duration, kept as written."""
    if node.kind == "scalar" and span_s(node.value) is not None:
        return node.value
    return refuse(node, path, found, "a duration: seconds, or ISO 8601 such as PT30S, at most 366 days")
