"""How errors of this surface look: `{"detail": …}`, a text or the list of what is wrong with the input (Stargraph 0.8: FastAPI's)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what only names our prefix stays free of the web framework
    from ...web.problems import Fault, Shapes

PREFIX = "/v1"
WHERE = ("body", "query", "path", "header")
"""What a problem's place begins with, when it says so; else it is the body."""
MUTATED = ("facts_assert", "facts_retract", "node_output_overrides", "respond_payloads")
"""Members of a mutation, as the runs name them."""
TYPES = (
    (re.compile(r"missing required field|is required"), "missing"),
    (re.compile(r"Expected `object"), "dict_type"),
    (re.compile(r"Expected `int"), "int_type"),
    (re.compile(r"Expected `str"), "string_type"),
    (re.compile(r"Expected `bool"), "bool_type"),
    (re.compile(r"Expected `array"), "list_type"),
    (re.compile(r"unknown field"), "extra_forbidden"),
    (re.compile(r"malformed JSON|truncated|Invalid UTF"), "json_invalid"),
    (re.compile(r"Invalid enum value|is no status|is no source"), "enum"),
    (re.compile(r"whole number"), "int_parsing"),
    (re.compile(r"date and time"), "datetime_parsing"),
)
"""What a message is about → the type clients know it by; `value_error` is any other."""
_FIELD = re.compile(r"field `([^`]+)`")
RATE_LIMITED = "rate_limit_exceeded"


def shape(fault: Fault) -> tuple[int, dict[str, Any]]:
    if fault.error_id:
        return 500, {"detail": "internal_error", "error_id": fault.error_id}
    if fault.status == 400:
        return 422, {"detail": entries(fault)}
    if fault.status == 404 and not fault.routed:
        return 404, {"detail": "Not Found"}
    if fault.status == 429 and fault.code != "counterfactual_rate_limit_exceeded":
        return 429, {"detail": RATE_LIMITED}
    told: dict[str, Any] = {"detail": fault.message}
    if fault.status == 409:
        told |= {"reason": fault.code, **fault.details}
    return fault.status, told


def entries(fault: Fault) -> list[dict[str, Any]]:
    """One entry for each problem, with its place."""
    if not fault.problems:
        return [{"type": "value_error", "loc": ["body"], "msg": fault.message}]
    made = []
    for problem in fault.problems:
        path = problem.path.replace("[", ".").replace("]", "")
        parts: list[str | int] = [int(part) if part.isdigit() else part for part in path.split(".") if part]
        kind = next((name for pattern, name in TYPES if pattern.search(problem.message)), "value_error")
        if kind == "missing" and (named := _FIELD.search(problem.message)) and named[1] not in parts:
            parts.append(named[1])
        if parts and parts[0] in MUTATED:
            parts.insert(0, "mutation")
        if not parts or parts[0] not in WHERE:
            parts.insert(0, "body")
        msg = problem.message.partition(" - at `$")[0]
        made.append({"type": kind, "loc": parts, "msg": f"{msg} ({problem.hint})" if problem.hint else msg})
    return made


def register(shapes: Shapes) -> None:
    shapes.register(PREFIX, shape)
