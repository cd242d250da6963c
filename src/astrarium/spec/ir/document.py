"""The IR document as data: what may stand in it, under which keys, and with which defaults.

`read_document` is the first stage of checking (the schema). Defaults of the structs stand in for what was wrong and told, so that
the later stages (`check`) can go on. Source: Stargraph 0.8, contract 1.1, 11.4, 11.6, 11.9; keys marked *ours* extend it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..source import YamlNode
from .read import (
    Findings,
    Key,
    Reader,
    Shape,
    anything,
    by_name,
    decimal,
    either,
    filled,
    flag,
    listed,
    mapping,
    matching,
    number,
    one_of,
    read_shape,
    shaped,
    span,
    text,
    whole,
)

MAX_STEPS = 10_000
"""The most steps of a run unless the document says otherwise."""

STATE_TYPES = ("str", "int", "float", "bool", "bytes", "list", "dict")
REDUCERS = ("sum", "append", "union", "max", "min", "last")


class Ref(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str = ""
    version: str = ""


class StoreRef(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str = ""
    provider: str = ""


class Requires(msgspec.Struct, frozen=True, omit_defaults=True):
    """The versions a pack was written for; empty = any. They must equal the host's."""

    stargraph_facts_version: str = ""
    api_version: str = ""


class Mount(msgspec.Struct, frozen=True, omit_defaults=True):
    """A governance pack to be enforced on every run of the graph."""

    id: str = ""
    version: str = ""
    requires: Requires = Requires()


class Block(msgspec.Struct, frozen=True, omit_defaults=True):
    """A static fan-out. `deadline` is a duration as written, None = the default of a quorum, else none (*ours*)."""

    targets: tuple[str, ...] = ()
    join: str = ""
    strategy: str = "all"
    deadline: float | str | None = None


class Migration(msgspec.Struct, frozen=True, omit_defaults=True):
    from_hash: str = ""
    to_hash: str = ""


class RetryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """*Ours.* Further tries of a node in place; `max_attempts` counts all tries."""

    max_attempts: int = 0
    backoff_ms: int = 0
    factor: float = 1.0
    retry_on: tuple[str, ...] = ()


class BudgetEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """*Ours.* Most that a node may use over all its visits, or a run from its beginning to its end; 0 or empty = no limit. `cost` is a
    decimal."""

    tokens: int = 0
    latency_ms: int = 0
    cost: str = ""


class NodeEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """`spec` is the path of the child document of a `subgraph`. `retry`, `timeout`, `budget` are *ours*."""

    id: str = ""
    kind: str = ""
    spec: str = ""
    config: dict[str, Any] = {}
    retry: RetryEntry | None = None
    timeout: float | str | None = None
    budget: BudgetEntry | None = None
    allow_unsafe_cancel: bool = False


class RuleEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """`then`: the actions as written, each a mapping with `kind`. `node_id` only tells a user interface where to draw the rule.
    `salience` is *ours*; a raw pattern may declare its own instead."""

    id: str = ""
    when: str | dict[str, Any] = ""
    then: tuple[dict[str, Any], ...] = ()
    node_id: str = ""
    salience: int = 0


class StateEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of `state_schema`: a type name, or (*ours*) a mapping with a default."""

    type: str = ""
    default: Any = msgspec.UNSET


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """A graph as its author wrote it. `state_reducers`, `max_steps`, `concurrency_limit` and `budget` are *ours*."""

    ir_version: str = ""
    id: str = ""
    nodes: tuple[NodeEntry, ...] = ()
    rules: tuple[RuleEntry, ...] = ()
    tools: tuple[Ref, ...] = ()
    skills: tuple[Ref, ...] = ()
    stores: tuple[StoreRef, ...] = ()
    state_schema: dict[str, StateEntry] = {}
    state_class: str = ""
    state_reducers: dict[str, str] = {}
    parallel: tuple[Block, ...] = ()
    governance: tuple[Mount, ...] = ()
    migrate: tuple[Migration, ...] = ()
    checkpoints: dict[str, Any] | None = None
    lm: dict[str, Any] | None = None
    max_steps: int = MAX_STEPS
    concurrency_limit: int = 0
    budget: BudgetEntry | None = None


def as_ir(document: Document) -> dict[str, Any]:
    """The document as plain data, ready to be written as YAML or JSON; what has its default is left out. It reads back the same."""
    return {"ir_version": document.ir_version, "id": document.id, "nodes": [], **msgspec.to_builtins(document)}


_HASH = matching(r"[0-9a-f]{64}", "64 hex digits")
_TEXTS = listed(text, "")


def _items(shape: Shape) -> Reader:
    return listed(shaped(shape), {})


def _state_type(node: YamlNode, path: str, found: Findings) -> Any:
    value = node.value if node.kind == "scalar" else None
    if value in STATE_TYPES:
        return {"type": value}
    sets = value in ("set", "frozenset")
    hint = "use list with the reducer `union`: a set has no order and no JSON form" if sets else ""
    near = found.suggest(str(value), STATE_TYPES).removeprefix(", ")
    wanted = f"one of {', '.join(STATE_TYPES)}"
    found.add(path, f"`{node.plain()}` is no type of a state field", expected=wanted, actual=node.plain(), hint=hint or near)
    return {"type": ""}


def _state_field(node: YamlNode, path: str, found: Findings) -> Any:
    """A type's name, or {type, default}."""
    if node.kind != "map":
        return _state_type(node, path, found)
    read = read_shape(node, path, found, {"type": Key(_state_type, True), "default": Key(anything)})
    kind = read.pop("type", {"type": ""})
    return {**read, **kind}


RETRY: Shape = {
    "max_attempts": Key(whole(1, 100), True),
    "backoff_ms": Key(whole(0, 86_400_000)),
    "factor": Key(number(1, 100)),
    "retry_on": Key(listed(filled, "")),
}
BUDGET: Shape = {
    "tokens": Key(whole(1, 10**12)),
    "latency_ms": Key(whole(1, 10**10)),
    "cost": Key(decimal("0.000001", "1000000000")),
}
NODE: Shape = {
    "id": Key(filled, True),
    "kind": Key(filled, True),
    "spec": Key(filled),
    "config": Key(mapping),
    "retry": Key(shaped(RETRY)),
    "timeout": Key(span),
    "budget": Key(shaped(BUDGET)),
    "allow_unsafe_cancel": Key(flag),
}
RULE: Shape = {
    "id": Key(filled, True),
    "when": Key(either(text, mapping)),
    "then": Key(listed(mapping, {})),
    "node_id": Key(filled),
    "salience": Key(whole(-10_000, 10_000)),
}
_REF: Shape = {"id": Key(filled, True), "version": Key(text)}
_STORE: Shape = {"name": Key(filled, True), "provider": Key(filled, True)}
_REQUIRES: Shape = {"stargraph_facts_version": Key(filled), "api_version": Key(filled)}
_MOUNT: Shape = {"id": Key(filled, True), "version": Key(text), "requires": Key(shaped(_REQUIRES))}
BLOCK: Shape = {
    "targets": Key(listed(filled, "", 1), True),
    "join": Key(text),
    "strategy": Key(filled),
    "deadline": Key(span),
}
_MIGRATION: Shape = {"from_hash": Key(_HASH, True), "to_hash": Key(_HASH, True)}
_CHECKPOINTS: Shape = {
    "every": Key(one_of("node-exit", "never"), True),
    "store": Key(matching(r"(sqlite|postgres):.+", "sqlite:<path> or postgres:<dsn>"), True),
}
_LM: Shape = {
    "provider": Key(one_of("sglang"), True),
    "model": Key(filled, True),
    "host": Key(filled),
    "port": Key(whole(1, 65535)),
    "args": Key(_TEXTS),
    "startup_timeout_s": Key(number(0, 86_400)),
}
ROOT: Shape = {
    "ir_version": Key(text, True),
    "id": Key(filled, True),
    "nodes": Key(_items(NODE), True),
    "rules": Key(_items(RULE)),
    "tools": Key(_items(_REF)),
    "skills": Key(_items(_REF)),
    "stores": Key(_items(_STORE)),
    "state_schema": Key(by_name(_state_field)),
    "state_class": Key(matching(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", "module.path:ClassName")),
    "state_reducers": Key(by_name(one_of(*REDUCERS))),
    "parallel": Key(_items(BLOCK)),
    "governance": Key(_items(_MOUNT)),
    "migrate": Key(_items(_MIGRATION)),
    "checkpoints": Key(shaped(_CHECKPOINTS)),
    "lm": Key(shaped(_LM)),
    "max_steps": Key(whole(1, 1_000_000)),
    "concurrency_limit": Key(whole(0, 1_000_000)),
    "budget": Key(shaped(BUDGET)),
}


def read_document(root: YamlNode, found: Findings) -> Document:
    """The schema stage: every unknown, missing or ill-typed value is told; what is left becomes a document."""
    if root.kind != "map":
        found.add("", "a graph is a mapping with `ir_version`, `id` and `nodes`", expected="a mapping", actual=root.plain())
        return Document()
    return msgspec.convert(read_shape(root, "", found, ROOT), Document)
