"""One call of a tool: its arguments are checked, what it needs is asked for, what an earlier run recorded stands in where it must, and its
result is checked and made harmless. Source of the order: Stargraph 0.8 (contract 11.8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import jsonschema_rs
import msgspec

from ....errors import AstrariumError, NotFound
from ...ports import Called, Spawn, StepFailed, Tool, ToolSpec, TryContext
from .record import call_key

DENIED = "capability_denied"
WRONG_INPUT = "ToolInputError"
WRONG_OUTPUT = "ToolOutputError"
MISSING = "replay_missing"
RUNTIME_PACK = ("stargraph.runtime", "1.0")

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_TEMPLATE = re.compile(r"<\|[^|<>\n]{0,64}\|>|\[/?INST\]|<</?SYS>>|</?s>")
"""Marks that a model could take for the frame of its conversation."""


class Scene(TryContext, Protocol):
    """What a call asks of the try it belongs to."""

    def tool(self, tool: str) -> Tool: ...
    def next_call(self) -> str: ...
    def let_through(self, value: Any) -> None: ...

    async def recorded(self, key: str) -> dict[str, Any] | None: ...


async def call_tool(scene: Scene, id_: str, args: Mapping[str, Any], waits: bool = False) -> Called:
    """Never raises for what a tool does; what stops the try passes through, and so does `StepFailed` for what packs do not let pass."""
    try:
        tool = scene.tool(id_)
    except NotFound as error:
        return Called(False, error=error.message, code="ToolNotFound")
    spec = tool.spec
    wrong = misfit(spec.input_schema, args)
    if wrong:
        return Called(False, error=f"{spec.id}: the arguments do not fit: {wrong}", code=WRONG_INPUT)
    denied = [permission for permission in spec.permissions if not scene.granted(permission)]
    if denied:
        return _deny(scene, spec, denied)
    scene.let_through(args)
    call_id, key = scene.next_call(), call_key(spec.id, args)
    said: list[dict[str, Any]] = [fact("stargraph-tool-call", tool_id=spec.id, args_count=len(args))]
    told = {"tool_name": spec.name, "namespace": spec.namespace, "args": args, "call_id": call_id, "key": key}
    scene.emit({"type": "tool_call", **told})
    called = await _replayed(scene, spec, key) or await _carry_out(scene, tool, args, waits)
    result = _told(called.result)
    scene.let_through([result, called.error])
    scene.emit(
        {"type": "tool_result", "call_id": call_id, "ok": called.ok, "result": result if called.ok else None,
         "error": called.error or None}
    )  # fmt: skip
    fields = ",".join(sorted(map(str, result))) if called.ok else ""
    said.append(fact("stargraph-tool-result", tool_id=spec.id, fields=fields))
    return msgspec.structs.replace(called, said=tuple(said))


def fact(template: str, **slots: Any) -> dict[str, Any]:
    return {"fact": template, "slots": slots}


def _deny(scene: Scene, spec: ToolSpec, denied: list[str]) -> Called:
    told = {"kind": DENIED, "subject_kind": "tool", "subject": spec.id, "permissions": denied}
    scene.emit({"type": "bosun_audit", "pack_id": RUNTIME_PACK[0], "pack_version": RUNTIME_PACK[1], "fact": told})
    said = f"{spec.id} needs the permission {', '.join(denied)}, which runs here do not have (setting graph_grants, or --grant)"
    return Called(False, error=said, code=DENIED)


async def _replayed(scene: Scene, spec: ToolSpec, key: str) -> Called | None:
    """What stands in for a call in a forked run; None = the call is made."""
    if spec.side_effects in ("none", "read") or not await scene.replays():
        return None
    if spec.policy == "fail-loud":
        return Called(False, error=f"{spec.id} is not called again in a forked run (fail-loud)", code=MISSING)
    record = await scene.recorded(key)
    if record is not None:
        result = record.get("result")
        alone = isinstance(result, dict) and set(result) == {"value"}
        return Called(True, result["value"] if alone and isinstance(result, dict) else result)
    if spec.policy == "recorded-result":
        return None
    said = f"{spec.id} writes, and the run this one was forked from recorded no result for these arguments"
    return Called(False, error=said, code=MISSING)


def _told(result: Any) -> Mapping[str, Any]:
    """A result as a mapping; of runs that were begun, their ids."""
    if isinstance(result, Spawn):
        return {"run_ids": [child.key for child in result.children]}
    return result if isinstance(result, Mapping) else {"value": result}


async def _carry_out(scene: Scene, tool: Tool, args: Mapping[str, Any], waits: bool) -> Called:
    spec = tool.spec
    try:
        made = await tool.call(args, scene)
        if isinstance(made, Spawn):
            if waits:
                return Called(True, made)
            raise StepFailed("it waits for other runs, which only a node of kind `tool` can")
        result = msgspec.to_builtins(made, enc_hook=str)
    except StepFailed as error:
        return Called(False, error=f"{spec.id}: {error}", code=error.code or "ToolError")
    except AstrariumError as error:
        return Called(False, error=f"{spec.id}: {error.message}", code=error.code or type(error).__name__)
    except Exception as error:  # a stranger's tool may raise anything
        return Called(False, error=f"{spec.id}: {type(error).__name__}: {error}", code=type(error).__name__)
    wrong = misfit(spec.output_schema, result)
    if wrong:
        return Called(False, error=f"{spec.id}: its result does not fit its schema: {wrong}", code=WRONG_OUTPUT)
    return Called(True, harmless(result))


def misfit(schema: Mapping[str, Any], value: Any) -> str:
    """The first thing that does not fit, in words; empty when all does."""
    if not schema:
        return ""
    for error in jsonschema_rs.validator_for(dict(schema)).iter_errors(value):
        where = ".".join(str(part) for part in error.instance_path)
        return f"{where}: {error.message}" if where else str(error.message)
    return ""


def harmless(value: Any) -> Any:
    """Data from outside, without signs that are not seen, markup that a page would obey, or marks that frame a conversation."""
    if isinstance(value, str):
        plain = _TEMPLATE.sub("", _CONTROL.sub("", value))
        return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if isinstance(value, dict):
        return {harmless(str(key)): harmless(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [harmless(part) for part in value]
    return value
