"""The language of filters (Stardag: `filter=` of the task search).

`filter := condition ("," condition)*`, `condition := key ":" [operator ":"] value`, all of them must hold. Operators are
`= != > < >= <= ~` (none = `=`; `~` = contains, whatever the case). A comma of a value is written `\\,`. Keys are the columns of a
task, `param.<path>` into its parameters and `asset.<name>.<path>` into its assets; paths are written `optimizer.lr`, `tags[0].k`.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Literal, get_args

import msgspec

from ....errors import Invalid, Problem

Operator = Literal["=", "!=", ">", "<", ">=", "<=", "~"]
OPERATORS: tuple[str, ...] = get_args(Operator)
TEXT_KEYS = ("task_name", "task_namespace", "task_id", "version", "build_id", "build_name", "status")
TIME_KEYS = ("created_at", "started_at", "completed_at")
CORE_KEYS = (*TEXT_KEYS, *TIME_KEYS)
PARAM, ASSET = "param.", "asset."
MOST_CONDITIONS = 20
_ORDERED = frozenset((">", "<", ">=", "<="))
_UNORDERED = frozenset(("status", "build_id"))
"""Keys whose values have no order: they are compared by `=`, `!=` and `~`."""
_COMMA = re.compile(r"(?<!\\),")


class Condition(msgspec.Struct, frozen=True):
    """One condition. `number` is the value as a number for ordered comparisons of parameters and assets, `at` (microseconds) as a
    time for those of times."""

    key: str
    operator: Operator
    value: str
    number: float = math.nan
    at: int = 0


class Filter(msgspec.Struct, frozen=True):
    """What a filter says. `ignored` names the conditions that cannot be understood (Stardag ignores them: clients show half-typed
    filters; ours are told)."""

    conditions: tuple[Condition, ...] = ()
    ignored: tuple[str, ...] = ()


def parse_filter(text: str) -> Filter:
    """Read a filter. A condition without a key that is known, or without a value, is ignored and named; one whose value cannot be
    compared as it asks raises `Invalid`."""
    conditions, ignored, problems = [], [], []
    parts = [part.strip().replace("\\,", ",") for part in _COMMA.split(text)] if text.strip() else []
    if len(parts) > MOST_CONDITIONS:
        told = f"a filter has at most {MOST_CONDITIONS} conditions, not {len(parts)}"
        raise Invalid(told, [Problem(told, "filter")], hint="ask for less at once")
    for part in parts:
        key, _, rest = part.partition(":")
        operator, colon, value = rest.partition(":")
        if not colon or operator not in OPERATORS:
            operator, value = "=", rest
        if not _known(key) or not rest:
            ignored.append(part)
            continue
        try:
            conditions.append(_condition(key, operator, value))
        except ValueError as error:
            problems.append(Problem(str(error), "filter"))
    if problems:
        raise Invalid("; ".join(problem.message for problem in problems), problems)
    return Filter(tuple(conditions), tuple(ignored))


def _known(key: str) -> bool:
    if key in CORE_KEYS:
        return True
    if key.startswith(ASSET):
        name, _, path = key.removeprefix(ASSET).partition(".")
        return bool(name and path)
    return key.startswith(PARAM) and len(key) > len(PARAM)


def _condition(key: str, operator: str, value: str) -> Condition:
    kind: Operator = operator  # type: ignore[assignment]
    if key in TIME_KEYS:
        if operator == "~":
            raise ValueError(f"{key} is a time: compare it by =, !=, <, <=, > or >=, not by ~")
        return Condition(key, kind, value, at=read_time(key, value))
    if operator not in _ORDERED:
        return Condition(key, kind, value)
    if key in _UNORDERED:
        raise ValueError(f"{key} has no order: compare it by =, != or ~, not by {operator}")
    if key in TEXT_KEYS:
        return Condition(key, kind, value)
    number = read_number(value)
    if math.isnan(number):
        raise ValueError(f"{key}:{operator} compares numbers, and {value[:40]!r} is none")
    return Condition(key, kind, value, number=number)


def read_number(text: str) -> float:
    """The text as a finite number; NaN for anything else."""
    if text[:1].isalpha():  # as most are, and an exception costs more than the rest of this
        return math.nan
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def read_time(key: str, text: str) -> int:
    """RFC 3339 text (a date alone is its midnight; without an offset it is UTC) as microseconds. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{key} is compared with a time such as 2026-11-22T08:00:00Z or 2026-11-22, not {text[:40]!r}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
