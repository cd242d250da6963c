"""What several branches changed, field by field, against the state they all started from.

A field one branch changed takes its value, one that several changed alike too; else the field's reducer says, and without one the
branches contradict each other. Source: Stargraph 0.8, the normative column (contract 11.6); what reducers do is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....spec.ir.flow import Field


class Conflict(Exception):
    """Branches changed a field differently and nothing says what then. `field` names it."""

    def __init__(self, field: str) -> None:
        super().__init__(f"branches changed the state field `{field}` differently, and it has no reducer")
        self.field = field


def merge(base: Mapping[str, Any], patches: Sequence[Mapping[str, Any]], fields: Mapping[str, Field]) -> dict[str, Any]:
    """One patch for all; `patches` in the order of the branches. Raises `Conflict`."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for patch in patches for name in patch):
        changed = [patch[name] for patch in patches if name in patch and not _same(patch[name], base.get(name))]
        if not changed:
            if name not in base:
                merged[name] = next(patch[name] for patch in patches if name in patch)
            continue
        if all(_same(value, changed[0]) for value in changed):
            merged[name] = changed[0]
            continue
        field = fields.get(name)
        merged[name] = reduce(field.reducer if field is not None else "", name, base.get(name), changed)
    return merged


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def reduce(reducer: str, name: str, before: Any, values: Sequence[Any]) -> Any:
    """What several values become: `sum` adds what each branch added, `append` and `union` what each put behind what was there (`union`
    each value once), `max` and `min` choose among the branches, `last` takes the last branch's. Raises `Conflict`."""
    try:
        if reducer == "last":
            return values[-1]
        if reducer == "max":
            return max(values)
        if reducer == "min":
            return min(values)
        if reducer == "sum":
            start = before if before is not None else 0
            return start + sum(value - start for value in values)
        if reducer in ("append", "union"):
            return _gather(list(before or ()), values, once=reducer == "union")
    except TypeError as error:
        raise Conflict(name) from error
    raise Conflict(name)


def _gather(before: list[Any], values: Sequence[Any], *, once: bool) -> list[Any]:
    made = list(before)
    for value in values:
        added = list(value)
        if added[: len(before)] == before:
            added = added[len(before) :]
        made.extend(one for one in added if not once or one not in made)
    return made
