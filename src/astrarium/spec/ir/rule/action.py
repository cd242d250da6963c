"""What a rule does: the actions of `then`, the static blocks and the configuration of interrupts, read into parts of a `Flow`.

Stargraph 0.8: contract 4, 11.4, 11.6; all seven kinds are carried out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from ..document import BLOCK, Block
from ..flow import Action, Assert, Goto, Halt, Interrupt, Parallel, Retract, Revisit
from ..read import (
    Findings,
    Key,
    Shape,
    anything,
    at,
    filled,
    listing,
    mapping,
    matching,
    read_shape,
    span,
    span_s,
    text,
    tree_of,
    whole,
)
from ..state import TEMPLATE_NAME
from .pattern import RUNTIME, read_facts
from .when import Ground

QUORUM_DEADLINE_S = 60.0
"""How long a quorum waits unless it says. Stargraph 0.8: contract 11.6 (normative)."""
MAX_ATTEMPTS = 5
_STRATEGY = re.compile(r"all|any|race|quorum:(\d{1,6})")
_STRATEGIES = "all, any, race or quorum:<n>"

INTERRUPT: Shape = {
    "prompt": Key(filled, True),
    "interrupt_payload": Key(mapping),
    "requested_capability": Key(filled),
    "timeout": Key(span),
    "on_timeout": Key(matching(r"halt|goto:.+", "halt or goto:<node>")),
    "output_field": Key(filled),
}
ACTIONS: Mapping[str, Shape] = {
    "goto": {"target": Key(filled, True)},
    "halt": {"reason": Key(text)},
    "parallel": BLOCK,
    "retry": {"target": Key(filled, True), "backoff_ms": Key(whole(0, 86_400_000)), "max_attempts": Key(whole(1, 1000))},
    "assert": {"fact": Key(filled, True), "slots": Key(anything)},
    "retract": {"pattern": Key(filled, True)},
    "interrupt": INTERRUPT,
}
_RESERVED = frozenset(("node-id", "stargraph-tool-call", "stargraph-tool-result", "stargraph-tokens-used", "respond"))
"""Facts that only the engine asserts."""


def asserted(then: Mapping[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    """(template, slots) of the fact an action asserts; None for other actions."""
    if then.get("kind") != "assert" or not isinstance(then.get("fact"), str):
        return None
    slots = _json(then.get("slots"))
    return then["fact"], tuple(slots) if isinstance(slots, dict) else ()


def read_action(given: Mapping[str, Any], path: str, ground: Ground, found: Findings) -> Action | None:
    """One entry of `then`; None when it cannot be read."""
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in ACTIONS:
        near = found.suggest(kind, ACTIONS) if isinstance(kind, str) else ""
        said = f"there is no action `{kind}`{near}" if kind is not None else "an action needs a `kind`"
        found.add(at(path, "kind"), said, expected=f"one of {', '.join(ACTIONS)}", actual=kind)
        return None
    shape = {"kind": Key(text, True), **ACTIONS[kind]}
    before = found.count
    read = read_shape(tree_of(given), path, found, shape)
    if found.count > before:
        return None
    if kind == "parallel":
        return read_block(Block(**{name: _frozen(value) for name, value in read.items() if name != "kind"}), path, ground, found)
    return _built(kind, read, path, ground, found)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _built(kind: str, read: dict[str, Any], path: str, ground: Ground, found: Findings) -> Action | None:
    if kind == "goto":
        check_node(read["target"], at(path, "target"), ground, found)
        return Goto(read["target"])
    if kind == "halt":
        return Halt(read.get("reason", ""))
    if kind == "retry":
        check_node(read["target"], at(path, "target"), ground, found)
        return Revisit(read["target"], read.get("backoff_ms", 0) / 1000, read.get("max_attempts", MAX_ATTEMPTS))
    if kind == "assert":
        return _assert(read, path, ground, found)
    if kind == "retract":
        return _retract(read["pattern"], at(path, "pattern"), ground, found)
    return build_interrupt(read, path, ground, found)


def check_node(name: str, path: str, ground: Ground, found: Findings) -> None:
    if name and name not in ground.nodes:
        near = found.suggest(name, ground.nodes)
        hint = listing("nodes", ground.nodes)
        found.add(path, f"there is no node `{name}`{near}", expected="a node's id", actual=name, hint=hint)


def read_block(block: Block, path: str, ground: Ground, found: Findings) -> Parallel:
    """A fan-out, of a rule or static."""
    for place, target in enumerate(block.targets):
        check_node(target, at(path, "targets", place), ground, found)
        if target and target in block.targets[:place]:
            found.add(at(path, "targets", place), f"`{target}` is a target twice", expected="distinct nodes", actual=target)
    check_node(block.join, at(path, "join"), ground, found)
    if block.join and block.join in block.targets:
        found.add(
            at(path, "join"),
            f"`{block.join}` is both a branch and where branches join",
            expected="another node",
            actual=block.join,
        )
    match = _STRATEGY.fullmatch(block.strategy)
    quorum = 0
    if match is None:
        near = found.suggest(block.strategy, ("all", "any", "race", "quorum")).removeprefix(", ")
        said = f"there is no strategy `{block.strategy}`"
        found.add(at(path, "strategy"), said, expected=_STRATEGIES, actual=block.strategy, hint=near)
    elif match[1]:
        quorum = int(match[1])
        if not 1 <= quorum <= max(1, len(block.targets)):
            wanted = f"quorum:1 to quorum:{len(block.targets)}"
            said = f"{quorum} of {len(block.targets)} branches cannot come"
            found.add(at(path, "strategy"), said, expected=wanted, actual=block.strategy)
    deadline_s = span_s(block.deadline) if block.deadline is not None else None
    if deadline_s is None:
        deadline_s = QUORUM_DEADLINE_S if quorum else 0.0
    strategy = "quorum" if quorum else block.strategy if match else "all"
    return Parallel(block.targets, block.join, strategy, quorum, deadline_s)  # type: ignore[arg-type]  # one of the words, as matched


def _json(slots: Any) -> Any:
    if not isinstance(slots, str):
        return slots
    try:
        return json.loads(slots) if slots.strip() else {}
    except (ValueError, RecursionError):
        return slots


def _assert(read: dict[str, Any], path: str, ground: Ground, found: Findings) -> Assert:
    fact, slots = read["fact"], _json(read.get("slots", {}))
    if not TEMPLATE_NAME.fullmatch(fact):
        found.add(
            at(path, "fact"),
            f"`{fact}` cannot be the name of facts",
            expected="a letter or _, then also digits . and -",
            actual=fact,
        )
    elif fact in _RESERVED:
        found.add(at(path, "fact"), f"facts `{fact}` are asserted by the engine alone", expected="another name", actual=fact)
    elif any(fact == (field.template or field.name) for field in ground.fields.values()):
        found.add(at(path, "fact"), f"`{fact}` is what rules see of the state", expected="another name", actual=fact)
    if not isinstance(slots, dict):
        hint = 'slots: {why: "too late"}'
        found.add(
            at(path, "slots"), "`slots` must be a mapping, or JSON text of one", expected="a mapping", actual=slots, hint=hint
        )
        return Assert(fact)
    for name, value in slots.items():
        if not TEMPLATE_NAME.fullmatch(name) or name.startswith("_"):
            found.add(
                at(path, "slots"),
                f"`{name}` cannot be the name of a slot",
                expected="a letter, then also digits . _ and -",
                actual=name,
            )
        if isinstance(value, dict | list):
            found.add(at(path, "slots"), f"the slot `{name}` holds a scalar", expected="a scalar", actual=value)
    return Assert(fact, slots)


def _retract(pattern: str, path: str, ground: Ground, found: Findings) -> Retract | None:
    named = read_facts(pattern)
    if named is None:
        wanted = "a template, or (template (slot value))"
        found.add(path, "`pattern` names no facts", expected=wanted, actual=pattern, hint="literal values only")
        return None
    fact, slots = named
    known = {**RUNTIME, **ground.facts}
    if fact not in known:
        near = found.suggest(fact, known)
        said = f"nothing asserts facts `{fact}`{near}"
        found.add(path, said, expected="facts that a rule or a pack asserts", actual=pattern, hint=listing("facts", known))
    elif fact in _RESERVED - {"respond"}:
        found.add(path, f"facts `{fact}` are the engine's", expected="facts that a rule or a pack asserts", actual=pattern)
    return Retract(fact, slots)


def read_interrupt(config: Mapping[str, Any], path: str, ground: Ground, found: Findings) -> Interrupt:
    """The configuration of a node that asks people."""
    read = read_shape(tree_of(config), path, found, INTERRUPT)
    return build_interrupt({"prompt": "", **read}, path, ground, found)


def build_interrupt(read: dict[str, Any], path: str, ground: Ground, found: Findings) -> Interrupt:
    payload = read.get("interrupt_payload", {})
    schema = payload.get("response_schema", {})
    place = at(path, "interrupt_payload", "response_schema")
    problem = schema_problem(schema)
    if problem:
        found.add(place, f"`response_schema` is no JSON schema: {problem}", expected="a JSON schema", actual=schema)
    target = read.get("on_timeout", "halt").removeprefix("goto:") if read.get("on_timeout", "halt") != "halt" else ""
    check_node(target, at(path, "on_timeout"), ground, found)
    field = read.get("output_field", "")
    if field and field not in ground.fields and not ground.open_state:
        found.add(at(path, "output_field"), f"the state has no field `{field}`", expected="a field of the state", actual=field)
    timeout_s = span_s(read["timeout"]) if "timeout" in read else None
    if "timeout" in read and not timeout_s:
        found.add(at(path, "timeout"), "a question that is never open is none", expected="more than 0", actual=read["timeout"])
    return Interrupt(
        prompt=read["prompt"],
        payload=payload,
        schema=schema if isinstance(schema, dict) else {},
        capability=read.get("requested_capability", ""),
        timeout_s=timeout_s or 0.0,
        on_timeout=target,
        output_field=field,
    )


def schema_problem(schema: Any) -> str:
    """Why something is no JSON schema; empty when it is one."""
    if not isinstance(schema, dict):
        return "it must be a mapping"
    try:
        jsonschema_rs.validator_for(schema, retriever=_refuse_fetch)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return str(error).splitlines()[0]
    return ""


def _refuse_fetch(uri: str) -> Any:
    raise ValueError(f"it refers to {uri}, which is not fetched; put that part under `$defs`")
