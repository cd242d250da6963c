"""Packs at work: what a step gave is looked at before it is told, under what the packs of its graph demand (Stargraph 0.8: contract 1.6,
where packs are loaded and do nothing)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from ....spec.graph import Graph
from ....spec.ir.pack.policy import AUDIT, BUDGETS, SAFETY_PII, Policy, Violation, find_violations
from ...ports import Result

VIOLATION = "pack_violation"
EXHAUSTED = "budget_exhausted"
FINAL = frozenset((VIOLATION, EXHAUSTED, "capability_denied", "replay_missing"))
"""Codes of ends that another try would only repeat."""
BUDGET_FACT = "bosun.budget"
VIOLATION_FACT = "bosun.violation"
AUDITED_RECORDS = {"tool_call": "tool_call", "artifact_written": "artifact_write"}
"""Records of tries the audit pack is told of, as its kinds. What the log tells itself is not written twice."""
MOST_POLICIES = 1000


class Told(Protocol):
    """What this asks of a try."""

    @property
    def graph(self) -> Graph: ...
    @property
    def run_id(self) -> str: ...
    def emit(self, record: Mapping[str, Any]) -> None: ...


def is_governed(graph: Graph) -> bool:
    """Whether packs want to see what steps of a graph give."""
    policy = graph.meta.get("graph", {}).get("policy")
    return bool(policy and (policy.get("watches") or policy.get("budgets")))


@lru_cache(MOST_POLICIES)
def _policy(text: bytes) -> Policy:
    return msgspec.json.decode(text, type=Policy)


def audit_of(graph: Graph, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The audit record that the audit pack wants of what a try tells; None when it wants none."""
    kind = AUDITED_RECORDS.get(str(record.get("type")))
    policy = graph.meta.get("graph", {}).get("policy") if kind else None
    if not policy or kind not in policy.get("audited", ()):
        return None
    told = record["artifact_ref"] if kind == "artifact_write" else record
    detail = {name: told[name] for name in ("tool_name", "namespace", "call_id", "artifact_id", "name") if name in told}
    version = dict(policy.get("packs", ())).get(AUDIT, "")
    return {"type": "bosun_audit", "pack_id": AUDIT, "pack_version": version, "fact": {"kind": kind, "detail": detail}}


def governed(scene: Told, result: Result) -> Result:
    """The result as the packs let it pass."""
    if not is_governed(scene.graph):
        return result
    policy = _policy(msgspec.json.encode(scene.graph.meta["graph"]["policy"]))
    if policy.budgets:
        result = _budgeted(scene, policy, result)
    return _watched(scene, policy, result) if policy.watches else result


def _budgeted(scene: Told, policy: Policy, result: Result) -> Result:
    """A budget that a fact says is used up ends the run."""
    for fact in result.said:
        slots = fact.get("slots", {})
        allowed, consumed = slots.get("allowed"), slots.get("consumed")
        if fact.get("fact") != BUDGET_FACT or not isinstance(allowed, int | float) or not isinstance(consumed, int | float):
            continue
        if consumed >= allowed:
            reason = f"{consumed:g} of {allowed:g} {slots.get('kind', '')}".strip() + " are used"
            return _stopped(scene, policy, BUDGETS, result, Violation("budget-exhausted", "halt", reason), EXHAUSTED)
    return result


def _watched(scene: Told, policy: Policy, result: Result) -> Result:
    """A text that holds what it must not is not told on; one that may hold it is, with a warning."""
    text = "\n".join(_texts([result.patch, result.output, result.error, [fact.get("slots") for fact in result.said]]))
    for found in find_violations(policy, text):
        if found.severity == "halt":
            bare = msgspec.structs.replace(result, patch=None, output=None, error="", said=(), ask=None, spawn=None)
            return _stopped(scene, policy, SAFETY_PII, bare, found, VIOLATION)
        result = _warned(scene, policy, SAFETY_PII, result, found)
    return result


def _stopped(scene: Told, policy: Policy, pack: str, result: Result, found: Violation, code: str) -> Result:
    warned = _warned(scene, policy, pack, result, found)
    return msgspec.structs.replace(warned, outcome="failed", error=f"{pack}: {found.reason}", code=code, ask=None, spawn=None)


def _warned(scene: Told, policy: Policy, pack: str, result: Result, found: Violation) -> Result:
    slots = {"kind": found.kind, "severity": found.severity, "run_id": scene.run_id, "reason": found.reason}
    version = dict(policy.packs).get(pack, "")
    scene.emit({"type": "bosun_audit", "pack_id": pack, "pack_version": version, "fact": {"kind": VIOLATION_FACT, **slots}})
    return msgspec.structs.replace(result, said=(*result.said, {"fact": VIOLATION_FACT, "slots": slots}))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield str(key)
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
