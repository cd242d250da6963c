"""What graphs find installed: node kinds, tools and skills, as their compiler is told of them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping

import msgspec

from ...runs.ports import Step, ToolSpec
from ...runs.work.tool.means import load_tools
from ...spec.ir.installed import Kind, Tool

_SORTED = msgspec.json.Encoder(order="sorted")


def installed_kinds(steps: Mapping[str, Step]) -> dict[str, Kind]:
    """The step types that are node kinds of graphs: those that say so (`ir`). Others belong to DAGs, and would let a graph do what its
    permissions do not allow."""
    return {name: step.ir for name, step in steps.items() if isinstance(getattr(step, "ir", None), Kind)}  # type: ignore[attr-defined]


@functools.cache
def installed_specs() -> dict[str, ToolSpec]:
    """Every tool by id. Raises `Invalid` when two have the same."""
    return {id_: tool.spec for id_, tool in load_tools().items()}


def installed_tools() -> dict[str, Tool]:
    """Every tool by id, as the compiler checks calls of it. What is told of a tool is its fingerprint: another version is another tool."""
    return {
        id_: Tool(spec.side_effects, spec.input_schema, spec.permissions, hashlib.sha256(_SORTED.encode(spec)).hexdigest())
        for id_, spec in installed_specs().items()
    }
