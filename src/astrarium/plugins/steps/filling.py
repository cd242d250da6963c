"""Texts of nodes with fields of the state in them, and how a node's configuration is shown as a JSON schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ...runs.ports import StepFailed, TryContext

_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")


def config_schema(params: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON schema of what a node of this kind is configured with."""
    schema: dict[str, Any] = msgspec.json.schema(params)
    return schema


def as_text(value: Any) -> str:
    """A value as it stands in a text: texts as they are, true and false as rules see them, everything else as JSON."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False, default=str)


def fill(template: str, state: Mapping[str, Any]) -> str:
    """`{field}` becomes the field's value; other braces stay. Raises `StepFailed` for a field the state does not have."""

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name not in state:
            raise StepFailed(f"the template names `{{{name}}}`, and the state has no such field", code="KeyError")
        return as_text(state[name])

    return _PLACE.sub(put, template)


def fitting(ctx: TryContext, patch: Mapping[str, Any]) -> dict[str, Any]:
    """What of a patch the state has fields for. A number goes into a field of text as text."""
    flow = ctx.graph.flow
    if flow is None or flow.open_state or not flow.fields:
        return dict(patch)
    fields = {field.name: field.type for field in flow.fields}
    found: dict[str, Any] = {}
    for name, value in patch.items():
        kind = fields.get(name)
        if kind == "str" and isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value:g}" if isinstance(value, float) else str(value)
        if kind is not None:
            found[name] = value
    return found
