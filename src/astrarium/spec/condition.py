"""Whether a condition holds (§3.6): the exit code of a command, or a comparison with what a text expands to."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

from ..errors import AstrariumError
from .expand import Variables, expand, expand_command
from .graph import Condition

Probe = Callable[[str], Awaitable[tuple[int, str]]]
"""Runs a command line and answers its exit code and standard output."""

BAD_PATTERN = (re.error, OverflowError, RecursionError)
"""What `re` raises for a pattern it cannot compile: `(`, `a{99999999999}`, a thousand brackets in one another."""

_SHOWN = 200


class _BacktickFailed(AstrariumError):
    """A command between backticks ended with a code other than 0."""


async def holds(condition: Condition, names: Variables, probe: Probe) -> tuple[bool, str]:
    """(whether it holds, the reason when it does not). Without `expected`: the command exits 0. With it: any line of the
    expanded text equals `expected`, or matches it (`re:`, found anywhere in the line). A failing backtick never holds."""
    if condition.expected is None:
        return _judge(condition, *await _runs(condition, names, probe))

    async def shell(line: str) -> str:
        code, out = await probe(line)
        if code != 0:
            raise _BacktickFailed(f"the command `{line}` ended with exit code {code}")
        return out

    try:
        actual = await expand(condition.text, names, shell)
        wanted = await expand(condition.expected, names, shell) if "`" not in condition.expected else condition.expected
    except AstrariumError as error:
        return False, f"condition `{condition.text}` cannot be evaluated: {error.message}"
    try:
        matched = matches(actual, wanted)
    except BAD_PATTERN as error:
        return False, f"`{wanted}` is not a valid regular expression: {error}"
    return _judge(condition, matched, f"expected `{wanted}`, got `{_short(actual)}`")


async def _runs(condition: Condition, names: Variables, probe: Probe) -> tuple[bool, str]:
    code, _ = await probe(expand_command(condition.text, names))
    return code == 0, f"the command ended with exit code {code}"


def _judge(condition: Condition, matched: bool, why: str) -> tuple[bool, str]:
    if matched is not condition.negate:
        return True, ""
    if condition.negate:
        return False, f"condition `{condition.text}` was met, but must not be"
    return False, f"condition `{condition.text}` was not met: {why}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def matches(text: str, wanted: str) -> bool:
    """Whether any line equals `wanted`, or for `re:<regex>` contains a match. Raises one of `BAD_PATTERN`."""
    lines = text.strip().splitlines() or [""]
    if wanted.startswith("re:"):
        pattern = re.compile(wanted[3:])
        return any(pattern.search(line) for line in lines)
    return any(line.strip() == wanted for line in lines)


async def all_hold(conditions: Sequence[Condition], names: Variables, probe: Probe) -> tuple[bool, list[str]]:
    """Evaluate every condition, as the dialect does, and answer (whether all hold, one reason per condition, empty when met)."""
    reasons: list[str] = []
    good = True
    for condition in conditions:
        held, reason = await holds(condition, names, probe)
        good = good and held
        reasons.append(reason)
    return good, reasons
