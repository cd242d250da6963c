"""Packs at work: what a step gave, and what is handed to tools, is looked at before it is told, under what the packs of its graph demand
(Stargraph 0.8: contract 1.6, where packs are loaded and do nothing). What facts demand is judged where rules are asked
(`runs.routing.rules.policy`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from ....spec.graph import Graph, Node
from ....spec.ir.pack.policy import AUDIT, SAFETY_PII, VIOLATION, Policy, Violation, violated, violation_fact
from ...ports import Result, StepFailed, Used
from ...routing.rules.budget import EXHAUSTED, add_used

AUDITED_RECORDS = {"tool_call": "tool_call", "artifact_written": "artifact_write"}
"""Records of tries the audit pack is told of, as its kinds. What the log tells itself is not written twice."""


class Told(Protocol):
    """What this asks of a try. `halted`: what a tool was called with, or gave, and must not be told; `used`: what was counted."""

    halted: Violation | None
    used: Used | None

    @property
    def graph(self) -> Graph: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def node(self) -> Node: ...
    @property
    def run_id(self) -> str: ...


def is_seen(graph: Graph, policy: Policy) -> bool:
    """Whether what a try gives, or how long it took, is looked at."""
    return bool(policy.watches) or _is_timed(graph)


def _is_timed(graph: Graph) -> bool:
    return graph.flow is not None and any(budget.latency_ms for budget in graph.flow.budgets.values())


def audit_of(policy: Policy, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The audit record that the audit pack wants of what a try tells; None when it wants none."""
    kind = AUDITED_RECORDS.get(str(record.get("type")))
    if kind is None or kind not in policy.audited:
        return None
    told = record["artifact_ref"] if kind == "artifact_write" else record
    detail = {name: told[name] for name in ("tool_name", "namespace", "call_id", "artifact_id", "name") if name in told}
    version = dict(policy.packs).get(AUDIT, "")
    return {"type": "bosun_audit", "pack_id": AUDIT, "pack_version": version, "fact": {"kind": kind, "detail": detail}}


def let_through(scene: Told, value: Any) -> None:
    """Look at what goes to a tool, or comes from one. Raises `StepFailed` when it must not be told; whoever catches that, the step does
    not end well."""
    for found in violated(scene.policy, value):
        if found.severity == "halt":
            scene.halted = found
            raise StepFailed(f"{SAFETY_PII}: {found.reason}", code=VIOLATION)


def counted(scene: Told, result: Result, took_s: float) -> Result:
    """With all that a try used up, and its time where a budget counts it. One that was cut off by its budget is not tried again."""
    timed = _is_timed(scene.graph)
    if not scene.used and not timed:
        return result
    used: Used = dict(result.used or {})
    add_used(used, scene.used)
    if timed:
        used["latency_ms"] = int(took_s * 1000)
    result = msgspec.structs.replace(result, used=used)
    budget = scene.graph.flow.budgets.get(scene.node.name) if scene.graph.flow is not None else None
    if result.outcome == "timed_out" and budget is not None and scene.node.timeout_s * 1000 == budget.latency_ms:
        said = f"the node {scene.node.name} took longer than the {budget.latency_ms} ms of its budget"
        return msgspec.structs.replace(result, error=said, code=EXHAUSTED)
    return result


def governed(scene: Told, result: Result) -> Result:
    """The result as the packs let it pass: a text that holds what it must not is not told on; one that may hold it is, with a warning."""
    if not scene.policy.watches:
        return result
    ask = result.ask
    parts = [result.patch, result.output, result.error, [fact.get("slots") for fact in result.said]]
    if ask is not None:
        parts += [ask.prompt, ask.payload]
    if result.spawn is not None:
        parts += [[child.state, child.params] for child in result.spawn.children]
    found = [scene.halted] if scene.halted is not None else violated(scene.policy, parts)
    said = tuple(violation_fact(one, SAFETY_PII, scene.run_id) for one in found)
    if not any(one.severity == "halt" for one in found):
        return msgspec.structs.replace(result, said=(*result.said, *said)) if said else result
    error = f"{SAFETY_PII}: {found[0].reason}"
    return Result("failed", exit_code=result.exit_code, error=error, code=VIOLATION, used=result.used, said=said)
