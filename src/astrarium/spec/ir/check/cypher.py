"""A look at queries in Cypher before they are asked: one statement, of clauses that every graph store has.

Looks into the configuration keys `cypher` and `*_cypher`. Stargraph 0.8: contract 1.1 (its lint of a Cypher subset).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..read import Findings, at

_SKIPPED = re.compile(r"//[^\n]*|/\*.*?\*/|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`[^`]*`", re.DOTALL)
_FIRST = re.compile(r"\s*(MATCH|OPTIONAL|UNWIND|WITH|RETURN|CREATE|MERGE)\b", re.IGNORECASE)
_FOREIGN = re.compile(r"\b(LOAD\s+CSV|CALL|FOREACH|USE|START|PERIODIC\s+COMMIT|DROP|GRANT|REVOKE)\b", re.IGNORECASE)
_PAIRS = {")": "(", "]": "[", "}": "{"}


def check_cypher(config: Mapping[str, Any], path: str, found: Findings) -> None:
    """Tell what is wrong with each query of a node's configuration."""
    for place, text in _queries(config, path):
        if not isinstance(text, str):
            found.add(place, "a query is text", expected="text", actual=text)
            continue
        for message in _faults(text):
            found.add(place, f"Cypher: {message}", expected="one query of the common subset", actual=text)


def _queries(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key == "cypher" or key.endswith("_cypher"):
                yield at(path, key), one
            else:
                yield from _queries(one, at(path, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _queries(one, at(path, number))


def _faults(text: str) -> Iterator[str]:
    bare = _SKIPPED.sub(lambda match: " " if match.group().startswith("/") else "''", text)
    if not _FIRST.match(bare):
        yield "a query begins with MATCH, OPTIONAL MATCH, UNWIND, WITH, RETURN, CREATE or MERGE"
    for match in _FOREIGN.finditer(bare):
        yield f"`{' '.join(match[1].upper().split())}` is not in the subset that every store has"
    if ";" in bare.rstrip().removesuffix(";"):
        yield "there is more than one statement"
    open_: list[str] = []
    for letter in bare:
        if letter in "([{":
            open_.append(letter)
        elif letter in _PAIRS and (not open_ or open_.pop() != _PAIRS[letter]):
            yield f"a `{letter}` closes nothing"
            return
    if open_:
        yield f"a `{open_[-1]}` is not closed"
    if bare.count("'") % 2 or '"' in bare or "`" in bare:
        yield "a quote is not closed"
