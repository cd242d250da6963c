"""Variables in texts (§3.7 of the dialect): `$VAR`, `${VAR}`, JSON paths, slices, defaults, step references, backticks.

Dagu 1.30: unknown names stay as written, so that a shell may still know them; a plain reference touched by a single quote
stays literal. What is inserted is never expanded again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from ..errors import Invalid

Shell = Callable[[str], Awaitable[str]]
"""Runs a command line and answers its standard output. Raises `AstrariumError` when it fails."""

_REFERENCE = re.compile(
    r"""
    \$\{ (?P<name> [A-Za-z0-9_][A-Za-z0-9_-]* )
         (?P<path> (?: \.[^\s{}:.\[\]]+ | \.?\[ (?: [0-9]{1,18} | "[^"{}]*" ) \] )* )
         (?: :(?P<offset> [0-9]{1,18} ) (?: :(?P<length> [0-9]{1,18} ) )? | :-(?P<default> [^{}]* ) )? \}
    | \$ (?P<bare> [A-Za-z_][A-Za-z0-9_]* | [0-9]+ )
    """,
    re.VERBOSE,
)
_PATH_PART = re.compile(r'\.?\[([0-9]+)\]|\.?\["?([^"\]]*)"?\]|\.([^\s{}:.\[\]]+)')
_QUOTE = re.compile(r"""\\.|["']""", re.DOTALL)
_MISSING = object()


class StepRef(msgspec.Struct, frozen=True):
    """What `${id.stdout}`, `${id.stderr}` (paths of log files) and `${id.exitCode}` stand for."""

    stdout: str = ""
    stderr: str = ""
    exit_code: str = ""

    def look_up(self, part: str) -> str | None:
        if part == "stdout":
            return self.stdout or None
        if part == "stderr":
            return self.stderr or None
        return (self.exit_code or None) if part in ("exitCode", "exit_code") else None


class Variables(msgspec.Struct, frozen=True):
    """What names mean: variables (parameters by name and position, environment, outputs), and earlier steps by id and name."""

    values: Mapping[str, str] = {}
    steps: Mapping[str, StepRef] = {}


def expand_variables(text: str, names: Variables) -> str:
    """Expand all forms of references in a configuration text, `${VAR:-default}` included. Backticks stay (see `expand`)."""
    return _replace(text, names, defaults=True, shell_quotes=False) if "$" in text else text


def expand_command(text: str, names: Variables) -> str:
    """Expand a command line before its shell sees it. Inside double quotes a value's quotes and backslashes are escaped;
    `${VAR:-default}` and backticks are the shell's own. `names` holds only what is inserted: parameters, outputs and the
    step's variables; the rest the shell finds in its environment."""
    return _replace(text, names, defaults=False, shell_quotes=True) if "$" in text else text


def expand_script(text: str, names: Variables) -> str:
    """Expand a script body: variables as they are, nothing escaped, no backticks, no defaults."""
    return _replace(text, names, defaults=False, shell_quotes=False) if "$" in text else text


def _replace(text: str, names: Variables, *, defaults: bool, shell_quotes: bool) -> str:
    quotes = _QuoteReader(text) if shell_quotes and '"' in text else None
    parts: list[str] = []
    done = 0
    for match in _REFERENCE.finditer(text):
        value = _value(match, text, names, defaults)
        if value is None:
            continue
        start = match.start()
        if quotes is not None and quotes.inside_double(start):
            value = value.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(text[done:start])
        parts.append(value)
        done = match.end()
    if not parts:
        return text
    parts.append(text[done:])
    return "".join(parts)


def _value(match: re.Match[str], text: str, names: Variables, defaults: bool) -> str | None:
    bare = match["bare"]
    if bare is not None:
        return None if _touches_quote(match, text) else names.values.get(bare)
    name, path, default = match["name"], match["path"], match["default"]
    if default is not None and not defaults:
        return None
    if not path and match["offset"] is None and default is None:
        return None if _touches_quote(match, text) else names.values.get(name)
    value = _at_path(name, path, names) if path else names.values.get(name)
    if default is not None:
        return value or _replace(default, names, defaults=True, shell_quotes=False)
    if value is None or match["offset"] is None:
        return value
    return _slice(value, int(match["offset"]), match["length"])


def _touches_quote(match: re.Match[str], text: str) -> bool:
    start, end = match.span()
    return (start > 0 and text[start - 1] == "'") or (end < len(text) and text[end] == "'")


def _slice(value: str, offset: int, length: str | None) -> str:
    return value[offset:] if length is None else value[offset : offset + int(length)]


def _at_path(name: str, path: str, names: Variables) -> str | None:
    step = names.steps.get(name)
    if step is not None:
        found = step.look_up(path[1:])
        if found is not None:
            return found
    text = names.values.get(name)
    if text is None:
        return None
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for part in _PATH_PART.finditer(path):
        document = _child(document, part)
        if document is _MISSING:
            return None
    return document if isinstance(document, str) else json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _child(document: Any, part: re.Match[str]) -> Any:
    index = part[1]
    if index is not None:
        inside = isinstance(document, list) and int(index) < len(document)
        return document[int(index)] if inside else _MISSING
    key = part[2] if part[2] is not None else part[3]
    return document.get(key, _MISSING) if isinstance(document, dict) else _MISSING


class _QuoteReader:
    """Which quotes of a shell line are open at a place; asked for growing places only."""

    def __init__(self, text: str) -> None:
        self._marks = _QUOTE.finditer(text)
        self._next = next(self._marks, None)
        self._open = ""

    def inside_double(self, place: int) -> bool:
        while self._next is not None and self._next.start() < place:
            self._pass(self._next)
        return self._open == '"'

    def _pass(self, match: re.Match[str]) -> None:
        mark = match.group()
        if mark[0] == "\\":
            # In single quotes a backslash escapes nothing: a quote after it closes them.
            if self._open == "'" and mark[1] == "'":
                self._open = ""
        elif not self._open:
            self._open = mark
        elif self._open == mark:
            self._open = ""
        self._next = next(self._marks, None)


def split_backticks(text: str) -> list[tuple[str, bool]]:
    """The text in parts: (literal text, False) and (command, True). A backtick after a backslash is kept as a literal one,
    or inside a command as a backtick of that command; a backtick that is never closed is literal too."""
    if "`" not in text:
        return [(text, False)] if text else []
    marks = [place for place, letter in enumerate(text) if letter == "`" and (place == 0 or text[place - 1] != "\\")]
    if len(marks) % 2:
        marks.pop()
    parts: list[tuple[str, bool]] = []
    done = 0
    for start, end in zip(marks[::2], marks[1::2], strict=True):
        parts.append((text[done:start], False))
        parts.append((text[start + 1 : end], True))
        done = end + 1
    parts.append((text[done:], False))
    return [(part.replace("\\`", "`"), command) for part, command in parts if part or command]


async def expand(text: str, names: Variables, shell: Shell) -> str:
    """Expand a text of parameters, environment, conditions or configuration with its backticks: variables first, then each
    command is run by `shell` and replaced by its trimmed output. Raises what `shell` raises."""
    if "`" not in text:
        return expand_variables(text, names)
    parts: list[str] = []
    for part, command in split_backticks(text):
        if not command:
            parts.append(expand_variables(part, names))
            continue
        line = expand_command(part, names).strip()
        if not line:
            raise Invalid("there is an empty command between backticks", hint="write \\` for a literal backtick")
        parts.append((await shell(line)).strip())
    return "".join(parts)
