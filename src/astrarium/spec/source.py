"""YAML with places: texts become nodes that know their line and column; every complaint is collected, none is thrown.

Scalars follow YAML 1.2 (`yes`, `on`, `12:30` are strings), as the DAG dialect's original does. Aliases and `<<` merges
work; documents are bounded in depth and in the number of nodes after expanding aliases.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Literal

import yaml

from ..errors import Problem

MAX_DEPTH = 64
MAX_NODES = 1_000_000
MAX_PROBLEMS = 100
_MAX_SUGGESTIONS = 20

Kind = Literal["map", "list", "scalar"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+\Z")
_INT_LIMIT = 1 << 63
"""Larger whole numbers are read as floats, as the dialect's original does; nothing could keep them."""
_BASED_INT = re.compile(r"0(?:o[0-7]+|x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class YamlNode:
    """A value of the document and where it stands (`file` empty = the one being read). `text` is a scalar as written, `value`
    what it means; `items` are a list's members, `entries` a map's (key node, value node) by key."""

    __slots__ = ("column", "entries", "file", "items", "kind", "line", "size", "text", "value")

    def __init__(self, kind: Kind, line: int, column: int, file: str = "") -> None:
        self.kind: Kind = kind
        self.line = line
        self.column = column
        self.file = file
        self.text = ""
        self.value: Any = None
        self.items: list[YamlNode] = []
        self.entries: dict[str, tuple[YamlNode, YamlNode]] = {}
        self.size = 1

    @property
    def is_null(self) -> bool:
        return self.kind == "scalar" and self.value is None

    def beside(self, kind: Kind) -> YamlNode:
        """An empty value at the same place, for what a reading makes up."""
        return YamlNode(kind, self.line, self.column, self.file)

    def plain(self) -> Any:
        """The value as ordinary dicts, lists and scalars."""
        if self.kind == "map":
            return {key: value.plain() for key, (_, value) in self.entries.items()}
        if self.kind == "list":
            return [item.plain() for item in self.items]
        return self.value


class Report:
    """Collects what is wrong with one file. Beyond `MAX_PROBLEMS` it only counts."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.dropped = 0
        self._suggested = 0

    def add(self, message: str, node: YamlNode | None = None, path: str = "", hint: str = "") -> None:
        line, column, file = (node.line, node.column, node.file) if node else (0, 0, "")
        self.add_at(message, line, column, path, hint, file)

    def add_at(self, message: str, line: int, column: int, path: str = "", hint: str = "", file: str = "") -> None:
        if len(self.problems) >= MAX_PROBLEMS:
            self.dropped += 1
            return
        self.problems.append(Problem(message, path=path, file=file or self.file, line=line, column=column, hint=hint))

    def suggest(self, word: str, known: Iterable[str]) -> str:
        """`, did you mean …?` for the nearest known word, or nothing. Bounded, for it compares with every known word."""
        self._suggested += 1
        if self._suggested > _MAX_SUGGESTIONS:
            return ""
        by_lower = {name.lower(): name for name in known}
        near = get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
        return f", did you mean `{by_lower[near[0]]}`?" if near else ""

    def finished(self) -> list[Problem]:
        """All problems in the order of their places."""
        found = sorted(self.problems, key=lambda problem: (problem.file != self.file, problem.line, problem.column))
        if self.dropped:
            found.append(Problem(f"… and {self.dropped} more problems", file=self.file))
        return found


def read_documents(text: str, report: Report, origin: str = "") -> list[YamlNode]:
    """Every document of a YAML text; an empty document is a null scalar. Problems go to `report`, the nodes are usable still.
    `origin` is the file its nodes tell as theirs when they become part of another file's reading."""
    try:
        return list(_Composer(report, origin).documents(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = _place(mark)
        if line > (last := len(f"{text}.".splitlines())):
            line, column = last, 0  # the end of a text without a last line break counts as a line of its own
        what = " ".join(part for part in (error.context, error.problem) if part)
        report.add_at(f"this is not valid YAML: {what}", line, column, hint="check indentation, quotes and colons here")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        report.add_at(f"this is not valid YAML: {error.reason}", line, 0, hint="remove control characters; save as UTF-8")
    except UnicodeEncodeError as error:  # half a surrogate pair
        line = text.count("\n", 0, error.start) + 1
        report.add_at("this is not valid YAML: a character is no valid Unicode", line, 0, hint="save the file as UTF-8")
    except _TooBig as error:
        report.add_at(error.message, error.line, error.column, hint=error.hint)
    return []


def _place(mark: Any) -> tuple[int, int]:
    return (0, 0) if mark is None else (mark.line + 1, mark.column + 1)


class _TooBig(Exception):
    def __init__(self, message: str, mark: Any, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.line = mark.line + 1
        self.column = mark.column + 1
        self.hint = hint


class _Composer:
    """Builds nodes from the parser's events, with an explicit stack: hostile depth cannot exhaust the interpreter's."""

    def __init__(self, report: Report, origin: str) -> None:
        self._report = report
        self._origin = origin
        self._anchors: dict[str, YamlNode | None] = {}

    def documents(self, text: str) -> Iterator[YamlNode]:
        stack: list[tuple[YamlNode, list[YamlNode], str | None]] = []
        root: YamlNode | None = None
        event: Any
        for event in yaml.parse(text, Loader=_LOADER):
            kind = type(event)
            if kind is yaml.ScalarEvent:
                done = _scalar(event, self._origin)
                if event.style == '"' and "\0" in done.text:  # by escape; the parser itself refuses a plain one
                    self._report.add("a NUL character (`\\0`) cannot be part of a text", done, hint="no program could be given it")
                if event.anchor:
                    self._anchors[event.anchor] = done
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                if len(stack) >= MAX_DEPTH:
                    raise _TooBig(f"nested deeper than {MAX_DEPTH} levels", event.start_mark, "flatten this part")
                stack.append((_opened(event, self._origin), [], event.anchor))
                if event.anchor:
                    self._anchors[event.anchor] = None
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                done, children, anchor = stack.pop()
                self._close(done, children, event.start_mark)
                if anchor:
                    self._anchors[anchor] = done
            elif kind is yaml.AliasEvent:
                done = self._alias(event)
            else:
                if kind is yaml.DocumentEndEvent and root is not None:
                    yield root
                    root, self._anchors = None, {}
                continue
            if stack:
                stack[-1][1].append(done)
            else:
                root = done

    def _alias(self, event: Any) -> YamlNode:
        mark = event.start_mark
        node = self._anchors.get(event.anchor)
        if node is not None:
            return node
        inside = event.anchor in self._anchors
        what = f"the alias `*{event.anchor}` stands inside what it names" if inside else f"unknown alias `*{event.anchor}`"
        self._report.add_at(what, mark.line + 1, mark.column + 1, hint=f"define `&{event.anchor}` before it is used")
        return YamlNode("scalar", mark.line + 1, mark.column + 1, self._origin)

    def _close(self, node: YamlNode, children: list[YamlNode], mark: Any) -> None:
        node.size = 1 + sum(child.size for child in children)
        if node.size > MAX_NODES:
            raise _TooBig(f"more than {MAX_NODES} values once aliases are expanded", mark, "split the file or use fewer aliases")
        if node.kind == "list":
            node.items = children
            return
        merges: list[YamlNode] = []
        for key, value in zip(children[::2], children[1::2], strict=True):
            if key.kind != "scalar":
                self._report.add("a key must be plain text, not a list or map", key, hint="quote the key")
            elif key.text == "<<":
                merges.append(value)
            elif key.text in node.entries:
                first = node.entries[key.text][0].line
                self._report.add(f"duplicate key `{key.text}`, first given in line {first}", key, hint="keep one of them")
            else:
                node.entries[key.text] = (key, value)
        for merge in merges:
            self._merge(node, merge)

    def _merge(self, node: YamlNode, merge: YamlNode) -> None:
        for source in merge.items if merge.kind == "list" else [merge]:
            if source.kind != "map":
                self._report.add("`<<` merges a map or a list of maps", source)
                continue
            for key, entry in source.entries.items():
                node.entries.setdefault(key, entry)


def _opened(event: Any, file: str) -> YamlNode:
    mark = event.start_mark
    return YamlNode("map" if type(event) is yaml.MappingStartEvent else "list", mark.line + 1, mark.column + 1, file)


def _scalar(event: Any, file: str) -> YamlNode:
    mark = event.start_mark
    node = YamlNode("scalar", mark.line + 1, mark.column + 1, file)
    node.text = event.value
    tagged = event.tag is not None and event.tag.endswith((":int", ":float", ":bool", ":null"))
    plain = tagged or (event.implicit[0] and event.style in (None, ""))
    node.value = _meaning(event.value) if plain else event.value
    return node


def _meaning(text: str) -> Any:
    if len(text) > 64:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-.":
        if _INT.match(text) or _BASED_INT.match(text):
            number = int(text, 0 if text[1:2] in ("o", "x") else 10)
            return number if -_INT_LIMIT <= number < _INT_LIMIT else float(number)
        if _FLOAT.match(text):
            real = float(text)
            return real if math.isfinite(real) else text  # 1e999: nothing could keep it as a number
    return text
