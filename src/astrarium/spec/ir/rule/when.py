"""What a rule asks: the mapping form with its operators, a CEL text, or a raw pattern, as the parts of a `FlowRule`.

Stargraph 0.8: contract 11.3. A plain scalar is compared as text with `str(value)` (`True`, `False`); an operator compares typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ....errors import Invalid
from ..cel import NAMES, compile_cel
from ..flow import Field, Op, Test
from ..read import Findings, at, listing
from ..state import TEMPLATE_NAME, unknown_field
from .pattern import RUNTIME, read_pattern

_OPS: Mapping[str, Op] = {"lt": "lt", "lte": "le", "gt": "gt", "gte": "ge", "eq": "eq", "ne": "ne", "in": "in"}
ASKED: Mapping[str, str] = {"outcome": "$outcome", "visits": "$visits"}
"""Keys of the mapping form (*ours*) for how the step ended and how often its node was visited, unless the state has such fields."""


class Ground(msgspec.Struct, frozen=True):
    """What rules can speak of: node ids, the state's fields, facts by template with their slots (those that rules assert and packs
    give), the keys answers of people may have (None = any), and whether the state takes fields nobody declared."""

    nodes: Mapping[str, int]
    fields: Mapping[str, Field]
    facts: Mapping[str, tuple[str, ...]] = {}
    answers: frozenset[str] | None = frozenset()
    open_state: bool = False


class When(msgspec.Struct, frozen=True):
    """The parts of a `FlowRule` that say when it matches."""

    node: str = ""
    tests: tuple[Test, ...] = ()
    cel: str = ""
    uses: tuple[str, ...] = ()
    clips: str = ""
    salience: int | None = None
    caught: bool = False


def read_when(when: str | Mapping[str, Any], path: str, ground: Ground, found: Findings) -> When:
    """The `when` of one rule; every defect is told. Empty text matches after every node."""
    if isinstance(when, Mapping):
        return _read_mapping(when, path, ground, found)
    if not when.strip():
        return When()
    if when.lstrip().startswith("cel:"):
        return _read_cel(when.lstrip().removeprefix("cel:").strip(), path, ground, found)
    return _read_pattern(when, path, ground, found)


def _read_mapping(when: Mapping[str, Any], path: str, ground: Ground, found: Findings) -> When:
    if not when:
        found.add(path, "an empty mapping says nothing", hint='leave `when` out, or "", to match after every node')
    node, cel = "", When()
    tests: list[Test] = []
    for key, value in when.items():
        place = at(path, key)
        if key == "node":
            node = _read_node(value, place, ground, found)
        elif key == "cel" and "cel" not in ground.fields:
            cel = _read_cel(value, place, ground, found) if isinstance(value, str) else When()
            if not isinstance(value, str):
                found.add(place, "`cel` must be text", expected="a CEL condition", actual=value)
        else:
            tests += _read_tests(key, value, place, ground, found)
    caught = cel.caught or any(test.field == "$outcome" for test in tests)
    return When(node, tuple(tests), cel.cel, cel.uses, caught=caught)


def _read_node(value: Any, path: str, ground: Ground, found: Findings) -> str:
    if isinstance(value, str) and value in ground.nodes:
        return value
    near = found.suggest(str(value), ground.nodes)
    hint = listing("nodes", ground.nodes)
    found.add(path, f"there is no node `{value}`{near}", expected="a node's id", actual=value, hint=hint)
    return ""


def _read_tests(key: str, value: Any, path: str, ground: Ground, found: Findings) -> list[Test]:
    field = _subject(key, path, ground, found)
    if isinstance(value, Mapping):
        if not value:
            found.add(path, f"`{key}` compares with nothing", expected=f"one of {', '.join(_OPS)}", actual=value)
        return [test for op, one in value.items() if (test := _operator(key, field, op, one, at(path, op), ground, found))]
    if value is None or isinstance(value, list):
        hint = f"several values: {key}: {{in: […]}}" if isinstance(value, list) else ""
        found.add(
            path, f"`{key}` must be compared with a text, a number, true or false", expected="a scalar", actual=value, hint=hint
        )
        return []
    return [Test(field, "text", str(value))]


def _subject(key: str, path: str, ground: Ground, found: Findings) -> str:
    """The fact a key is about. Dots in a key become dashes, as in the names of facts."""
    if key in ground.fields:
        mirrored = ground.fields[key].template or key
        if ground.fields[key].type in ("list", "dict", "bytes"):
            said = f"`{key}` is {ground.fields[key].type}: rules test texts, numbers and booleans"
            found.add(path, said, expected="a scalar field", hint=f"cel: size(state.{key}) > 0", key=True)
        return mirrored
    if key in ASKED:
        return ASKED[key]
    fact = key.replace(".", "-")
    by_template = {field.template for field in ground.fields.values() if field.template}
    known = fact in by_template or key in ground.facts or fact in ground.facts or key in RUNTIME
    free = ground.open_state or ground.answers is None
    if known or (free and TEMPLATE_NAME.fullmatch(key)) or (ground.answers and key in ground.answers):
        return key if key in ground.facts or key in RUNTIME else fact
    unknown_field(path, key, {**ground.fields, **ground.facts}, found, key=True)
    return key


def _operator(key: str, field: str, op: str, value: Any, path: str, ground: Ground, found: Findings) -> Test | None:
    if op not in _OPS:
        near = found.suggest(op, _OPS)
        found.add(path, f"unknown operator `{op}`{near}", expected=f"one of {', '.join(_OPS)}", actual=op, key=True)
        return None
    values = value if op == "in" else [value]
    if not isinstance(values, list) or not all(isinstance(one, str | int | float | bool) for one in values):
        wanted = "a list of scalars" if op == "in" else "a scalar"
        found.add(path, f"`{op}` must be given {wanted}", expected=wanted, actual=value)
        return None
    ordered = _OPS[op] in ("lt", "le", "gt", "ge")
    declared = ground.fields.get(key)
    if ordered and isinstance(value, bool):
        found.add(path, f"`{op}` compares numbers or texts", expected="a number or a text", actual=value)
        return None
    if declared is not None and not all(_alike(declared, one) for one in values):
        said = f"`{key}` is {declared.type} and never compares with this"
        found.add(
            path, said, expected=declared.type, actual=value, hint="operators compare typed; a plain value compares as text"
        )
        return None
    return Test(field, _OPS[op], value)


def _alike(field: Field, value: Any) -> bool:
    kind = field.type
    if isinstance(value, bool):
        return kind in ("bool", "any")
    if isinstance(value, str):
        return kind in ("str", "any")
    return kind in ("int", "float", "any")


def _read_cel(text: str, path: str, ground: Ground, found: Findings) -> When:
    fields = None if ground.open_state else tuple(ground.fields)
    try:
        program = compile_cel(text, fields)
    except Invalid as error:
        for problem in error.problems:
            where = f" (at {problem.line}:{problem.column} of it)" if problem.line else ""
            hint = problem.hint or f"it may name {', '.join(NAMES)}"
            found.add(path, f"CEL: {problem.message}{where}", expected="a CEL condition", actual=text, hint=hint)
        return When()
    return When(cel=text, uses=program.uses, caught="outcome" in program.names)


def _read_pattern(text: str, path: str, ground: Ground, found: Findings) -> When:
    slots = {field.template or field.name: ("value",) for field in ground.fields.values() if field.type not in ("list", "dict")}
    pattern, problems = read_pattern(text, ground.nodes, {**ground.facts, **slots})
    for problem in problems:
        said = f"pattern: {problem.message} (at {problem.line}:{problem.column} of it)"
        found.add(path, said, expected="CLIPS patterns", actual=text, hint=problem.hint)
    return When(pattern.node, clips=pattern.text, salience=pattern.salience)
