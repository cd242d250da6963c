"""`task`: an `ar` task as a step. Its build runs in a warm worker process; a result that is there already is used as it is.

Who records it: the registry that the step's environment names (`ASTRARIUM_REGISTRY_URL`), else the server that executes the step. The
worker reaches that one over HTTP as any builder does, with the token of `server.json`, and not from inside: so a step's build is claimed,
shared with builders elsewhere and shown like every other, and what dies with the worker lapses like any claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

from ...runs.ports import Result, TryContext
from ...spec.ir.installed import Kind
from .filling import config_schema, fill, fitting
from .python import expand_inside

BUILD = "astrarium.sdk.builds.called:build_called"


class TaskParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`task` is `module:attribute` (a task, a class of tasks, or a function that gives one), `params` its fields; texts in them are
    expanded, in a graph of rules `{field}` is the state's. `mode` says where bodies run, `max_concurrent` how many at a time: a step has
    one place, so it makes one thing at a time unless it is told otherwise."""

    task: str
    params: dict[str, Any] = {}
    mode: Literal["sequential", "threads", "processes", "async"] = "sequential"
    max_concurrent: int = 10


class Task:
    """Builds the task and what it needs, as far as it is not made. The output is JSON: `uri`, `task_id`, `build_id`, and `value` where
    the result is a small text or JSON."""

    kind: ClassVar[str] = "task"
    Params: ClassVar[type[msgspec.Struct]] = TaskParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = "python"
    captures: ClassVar[bool] = False

    ir: ClassVar[Kind] = Kind("write", config_schema(TaskParams))

    async def run(self, ctx: TryContext, params: TaskParams) -> Result:
        rules = ctx.graph.router == "rules"
        args = {
            "task": params.task if rules else await ctx.expand(params.task),
            "params": _filled(params.params, ctx.state) if rules else await expand_inside(ctx, params.params),
            "mode": params.mode,
            "max_concurrent": params.max_concurrent,
            "server_file": str(ctx.server_file or ""),
        }
        told = await ctx.call_python(BUILD, args)
        return Result(output=msgspec.json.encode(told).decode(), patch=fitting(ctx, told) if rules else None)


def _filled(value: Any, state: Mapping[str, Any]) -> Any:
    """`value` with the fields of the state in its texts, as in a node of kind `template`."""
    if isinstance(value, str):
        return fill(value, state)
    if isinstance(value, dict):
        return {key: _filled(item, state) for key, item in value.items()}
    return [_filled(item, state) for item in value] if isinstance(value, list) else value


STEP = Task()
