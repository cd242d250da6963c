"""Conditions in CEL: checked when a graph is loaded, judged without loops, side effects or surprises of cost.

CEL itself cannot loop for ever; what it may cost is bounded here: the length of a text, how often it may walk over a list (macros), and
how large the data may be that it is shown. The library refuses deep nesting and more than 10,000 turns of all its macros.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any

import msgspec

from ...errors import Invalid, Problem, TooMuch
from .read import listing

MAX_TEXT = 2048
MAX_MACROS = 4
MAX_DATA = 1_000_000
"""The most a text is shown: every character and every value counts 1."""
MAX_WORK = 20_000_000
"""With a macro: data times the number of values, for each of them may look at all of it."""

NAMES = ("node", "state", "answer", "facts", "outcome", "visits")
"""What a text may name: the node that just ended, the state, the answer just given, the facts (`fact`, `slots`), how the step ended,
and how often its node was visited."""

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*)
      | (?P<text>[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
      | (?P<name>[A-Za-z_]\w*)
      | (?P<number>\d[\w.]*)
      | (?P<mark>[^\s])""",
    re.VERBOSE | re.DOTALL,
)
_MACROS = frozenset(("all", "exists", "exists_one", "existsOne", "map", "filter"))
_FAULT = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")


class Program(msgspec.Struct, frozen=True):
    """A checked condition. `uses`: the state fields it reads, in the order of their first mention; `whole`: it looks at the state as
    one value (`state["x"]`, `size(state)`) and is shown all of it; `names`: which of `NAMES` it mentions."""

    text: str
    uses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    whole: bool = False
    macros: int = 0

    def holds(self, variables: Mapping[str, Any]) -> bool:
        """Whether it is true for these variables (`NAMES`; missing ones are empty). False also when it has no value: a missing key,
        types that cannot be compared, a division by zero, a value that is no bool. Raises `TooMuch` when it is shown more than it
        may be."""
        shown = {name: variables.get(name, _EMPTY[name]) for name in self.names}
        if "state" in shown and not self.whole:
            state = shown["state"]
            shown["state"] = {field: state[field] for field in self.uses if field in state}
        self._weigh(shown)
        try:
            value = _expression(self.text).eval(data=shown).value()
        except RuntimeError as error:  # what cannot be shown to CEL, and the budget of turns
            if "budget" in str(error):
                raise TooMuch(
                    f"the condition `{_short(self.text)}` walks over too many values", hint="shorten the lists"
                ) from error
            return False
        return value is True

    def _weigh(self, shown: dict[str, Any]) -> None:
        values, size = _measure(shown)
        if size > MAX_DATA or (self.macros and values * size > MAX_WORK):
            raise TooMuch(
                f"the condition `{_short(self.text)}` would be shown {values:,} values with {size:,} characters",
                hint="let the node write a short field to route on, and test that",
            )


_EMPTY: dict[str, Any] = {"node": "", "state": {}, "answer": {}, "facts": [], "outcome": "", "visits": 0}


def _measure(value: Any) -> tuple[int, int]:
    """(values, values and characters) of plain data; stops counting above the limit."""
    values = size = 0
    open_ = [value]
    while open_ and size <= MAX_DATA:
        one = open_.pop()
        values += 1
        size += 1
        if isinstance(one, str | bytes):
            size += len(one)
        elif isinstance(one, Mapping):
            size += sum(len(str(key)) for key in one)
            open_.extend(one.values())
        elif isinstance(one, list | tuple):
            open_.extend(one)
    return values, size


def compile_cel(text: str, fields: Collection[str] | None = None) -> Program:
    """Check a condition. `fields` are the state's, None = any may be there. Raises `Invalid` with every problem found: a syntax
    error, an unknown name or field, a comparison of types that never fits, a value that can never be a bool, a limit."""
    uses, names, whole, macros = _scan(text)
    problems = []
    if len(text) > MAX_TEXT:
        problems.append(Problem(f"a condition has at most {MAX_TEXT} characters, this one {len(text)}"))
    elif macros > MAX_MACROS:
        problems.append(Problem(f"a condition has at most {MAX_MACROS} macros (all, exists, map, filter …), this one {macros}"))
    elif text.strip():
        problems += _faults(text)
    else:
        problems.append(Problem("the condition is empty", hint="leave `when` out to match always"))
    if fields is not None:
        known = listing("fields", fields)
        problems += [Problem(f"the state has no field `{name}`", hint=known) for name in uses if name not in fields]
    if problems:
        raise Invalid(f"the condition `{_short(text)}` cannot be used: {problems[0].message}", problems)
    return Program(text, uses, names, whole, macros)


def _faults(text: str) -> list[Problem]:
    try:
        result = _expression(text).return_type().name()
    except RuntimeError as error:
        found = [
            Problem(match[3].replace(" (in container '')", ""), line=max(int(match[1]), 0), column=max(int(match[2]), 0))
            for match in _FAULT.finditer(str(error))
        ]
        return found or [Problem(str(error).splitlines()[0])]
    if result not in ("BOOL", "DYN"):
        return [Problem(f"a condition is true or false, this one is {result}", hint="compare it with something")]
    return []


def _scan(text: str) -> tuple[tuple[str, ...], tuple[str, ...], bool, int]:
    """(state fields, variables, whether the state is used as a whole, number of macros)."""
    words = [match for match in _TOKEN.finditer(text[: MAX_TEXT + 1]) if match.lastgroup != "comment"]
    marks = [match.group() for match in words] + ["", "", ""]
    uses: dict[str, None] = {}
    names: dict[str, None] = {}
    whole = False
    macros = 0
    for place, match in enumerate(words):
        if match.lastgroup != "name":
            continue
        before = marks[place - 1] if place else ""
        if match.group() in NAMES and before != ".":
            names[match.group()] = None
        if match.group() == "state" and before != ".":
            if marks[place + 1] == "." and marks[place + 2].isidentifier() and marks[place + 3] != "(":
                uses[marks[place + 2]] = None
            else:
                whole = True
        elif match.group() in _MACROS and before == "." and marks[place + 1] == "(":
            macros += 1
    return tuple(uses), tuple(names), whole, macros


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


@functools.lru_cache(maxsize=1024)
def _expression(text: str) -> Any:
    return _environment().compile(text)


@functools.cache
def _environment() -> Any:
    """Loaded when the first condition is met: most processes never see one."""
    cel: Any = import_module("cel_expr_python.cel")
    kind = cel.Type
    types = {
        "node": kind.STRING,
        "state": kind.Map(kind.STRING, kind.DYN),
        "answer": kind.Map(kind.STRING, kind.DYN),
        "facts": kind.List(kind.Map(kind.STRING, kind.DYN)),
        "outcome": kind.STRING,
        "visits": kind.INT,
    }
    return cel.NewEnv(variables=types)
