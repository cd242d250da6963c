"""Nodes of a document as nodes of the `Graph`: kinds, configurations, tool calls, child graphs, further tries and time-outs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec

from ...graph import Node, Retry
from ..document import NodeEntry
from ..flow import Budget, Field, Interrupt
from ..installed import Code, Effects, Installed, Kind
from ..read import Findings, Key, Shape, at, by_name, filled, listing, mapping, read_shape, span_s, tree_of, whole
from ..rule.action import read_interrupt
from ..rule.when import Ground
from ..state import unknown_field
from .cypher import check_cypher
from .whole import asked_of

CODE_KIND = "node"
"""The step type that runs a Python class."""
COMPILED = ("subgraph", "interrupt", "tool")
"""Kinds whose configuration is read here, and which every installation has."""

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_TOOL: Shape = {
    "tool": Key(filled, True),
    "inputs": Key(by_name(filled)),
    "static": Key(mapping),
    "out": Key(filled),
}
_SUBGRAPH: Shape = {"inputs": Key(by_name(filled)), "outputs": Key(by_name(filled)), "max_steps": Key(whole(1, 10_000))}


class ChildGraph(NamedTuple):
    """What a node needs to know of the graph it runs. `shared`: it has no rules and runs on the parent's state."""

    id: str
    hash: str
    stored_hash: str
    fields: tuple[Field, ...]
    shared: bool
    effects: Effects
    permissions: tuple[str, ...]


class Made(NamedTuple):
    """A node of the graph, and what else its entry says. `code` is the fingerprint of what runs."""

    node: Node
    effects: Effects = "none"
    code: str = ""
    permissions: tuple[str, ...] = ()
    child: ChildGraph | None = None


class Scene(NamedTuple):
    """Where a node stands: what rules and nodes can speak of, what is installed, and how a child document is compiled:
    `child(entry, max_steps, path)`, None after it told why it cannot be."""

    ground: Ground
    installed: Installed
    found: Findings
    child: Callable[[NodeEntry, int, str], ChildGraph | None]
    state_class: str = ""
    retry: Retry | None = None
    state_code: tuple[str, str] = ("", "")
    """Fingerprint and folder of the state's class."""


def make_node(entry: NodeEntry, path: str, scene: Scene) -> Made:
    """The node of an entry; every defect is told."""
    made = _kinds(entry)(entry, path, scene)
    check_cypher(entry.config, at(path, "config"), scene.found)
    if entry.spec and entry.kind != "subgraph":
        said = f"`spec` names a child graph, which a node of kind `{entry.kind}` has not"
        scene.found.add(at(path, "spec"), said, expected="kind: subgraph", actual=entry.spec)
    node = msgspec.structs.replace(made.node, retry=_retry(entry, made.effects, scene), timeout_s=_timeout_s(entry))
    return made._replace(node=node)


def _kinds(entry: NodeEntry) -> Callable[[NodeEntry, str, Scene], Made]:
    if ":" in entry.kind:
        return _python
    return {"tool": _tool, "subgraph": _subgraph, "interrupt": _interrupt}.get(entry.kind, _short)


def _retry(entry: NodeEntry, effects: Effects, scene: Scene) -> Retry | None:
    """What the node says, else what the retries pack demands: of nodes that may be done twice without harm."""
    given = entry.retry
    if given is None:
        return scene.retry if entry.kind != "interrupt" and effects in ("none", "read") else None
    backoff = given.factor if given.factor != 1 else 0.0
    errors = tuple(word for word in given.retry_on if word)
    return Retry(given.max_attempts - 1, given.backoff_ms / 1000, backoff, errors=errors)


def _timeout_s(entry: NodeEntry) -> float:
    """The nearer one of the node's time-out and its budget of time."""
    given = [span_s(entry.timeout) if entry.timeout is not None else None, entry.budget and entry.budget.latency_ms / 1000]
    return min((limit for limit in given if limit), default=0.0)


def budget_of(entry: NodeEntry) -> Budget | None:
    given = entry.budget
    return Budget(given.tokens, given.cost or 0.0, given.latency_ms) if given else None


def _python(entry: NodeEntry, path: str, scene: Scene) -> Made:
    found, code = scene.found, None
    if not _CLASS.fullmatch(entry.kind):
        found.add(at(path, "kind"), f"`{entry.kind}` names no class", expected="package.module:ClassName", actual=entry.kind)
    elif scene.installed.code is not None:
        code = asked_of(scene.installed.code, entry.kind, path=at(path, "kind"), found=found)
    params: dict[str, Any] = {"class": entry.kind, "config": entry.config}
    if scene.state_class:
        params["state_class"] = scene.state_class
        params |= {name: told for name, told in zip(("state_code", "state_folder"), scene.state_code, strict=True) if told}
    if isinstance(code, Code):
        params |= {name: told for name, told in (("code", code.fingerprint), ("folder", code.folder)) if told}
    node = Node(entry.id, CODE_KIND, params=params)
    if not isinstance(code, Code):
        return Made(node)
    _check_config(entry.config, code.config, path, found)
    return Made(node, code.effects, code.fingerprint)


def _short(entry: NodeEntry, path: str, scene: Scene) -> Made:
    found, kinds = scene.found, scene.installed.kinds
    node = Node(entry.id, entry.kind or "?", params=entry.config)
    if kinds is None or not entry.kind:
        return Made(node)
    kind = kinds.get(entry.kind)
    if kind is None:
        known = sorted({*kinds, *COMPILED})
        hint = f"{listing('kinds', known)}; or package.module:ClassName"
        said = f"there is no node kind `{entry.kind}`{found.suggest(entry.kind, known)}"
        found.add(at(path, "kind"), said, expected="a node kind", actual=entry.kind, hint=hint)
        return Made(node)
    _check_config(entry.config, kind.config, path, found)
    _check_fields(entry.config, kind, path, scene)
    return Made(node, kind.effects, kind.fingerprint, kind.permissions)


def _check_config(config: Mapping[str, Any], schema: dict[str, Any] | None, path: str, found: Findings) -> None:
    if schema is None:
        return
    for error in jsonschema_rs.validator_for(schema).iter_errors(config):
        place = at(path, "config", *error.instance_path)
        value: Any = config
        for part in error.instance_path:
            value = value[part]
        found.add(place, f"the configuration does not fit: {error.message}", expected="what the kind takes", actual=value)


def _check_fields(config: Mapping[str, Any], kind: Kind, path: str, scene: Scene) -> None:
    """Keys of a configuration that name a field of the state."""
    for key in (*kind.reads, *kind.writes):
        name = config.get(key)
        if isinstance(name, str):
            _check_field(name, at(path, "config", key), scene)


def _check_field(name: str, path: str, scene: Scene) -> None:
    if not scene.ground.open_state and name not in scene.ground.fields:
        unknown_field(path, name, scene.ground.fields, scene.found)


def _tool(entry: NodeEntry, path: str, scene: Scene) -> Made:
    found, place = scene.found, at(path, "config")
    read = read_shape(tree_of(entry.config), place, found, _TOOL)
    inputs, static = read.get("inputs", {}), read.get("static", {})
    for name, field in inputs.items():
        _check_field(field, at(place, "inputs", name), scene)
        if name in static:
            said = f"the argument `{name}` is in `inputs` and in `static`"
            found.add(at(place, "static", name), said, expected="one of them", actual=static[name], key=True)
    if "out" in read:
        _check_field(read["out"], at(place, "out"), scene)
    node = Node(entry.id, "tool", params=read)
    tools, name = scene.installed.tools, read.get("tool", "")
    if tools is None or not name:
        return Made(node)
    tool = tools.get(name)
    if tool is None:
        near = found.suggest(name, tools)
        hint = listing("tools", sorted(tools))
        found.add(
            at(place, "tool"), f"there is no tool `{name}`{near}", expected="namespace.name@version", actual=name, hint=hint
        )
        return Made(node)
    _check_arguments(tool.input_schema, inputs, static, place, found)
    return Made(node, tool.effects, tool.fingerprint, tool.permissions)


def _check_arguments(
    schema: Mapping[str, Any], inputs: Mapping[str, Any], static: Mapping[str, Any], place: str, found: Findings
) -> None:
    properties = schema.get("properties", {})
    for part, given in (("inputs", inputs), ("static", static)):
        for name in given:
            if schema.get("additionalProperties") is False and name not in properties:
                near = found.suggest(name, properties)
                said = f"the tool takes no argument `{name}`{near}"
                hint = listing("arguments", properties)
                found.add(at(place, part, name), said, expected="an argument", actual=name, hint=hint, key=True)
    for name in schema.get("required", ()):
        if name not in inputs and name not in static:
            found.add(
                at(place, "inputs"), f"the tool needs the argument `{name}`", expected=name, hint=f"{name}: <a state field>"
            )
    for name, value in static.items():
        if name in properties:
            for error in jsonschema_rs.validator_for(properties[name]).iter_errors(value):
                found.add(at(place, "static", name), f"the argument does not fit: {error.message}", actual=value)


def _interrupt(entry: NodeEntry, path: str, scene: Scene) -> Made:
    asked: Interrupt = read_interrupt(entry.config, at(path, "config"), scene.ground, scene.found)
    params = msgspec.to_builtins(asked)
    params.pop("type", None)
    return Made(Node(entry.id, "interrupt", params=params))


def _subgraph(entry: NodeEntry, path: str, scene: Scene) -> Made:
    found, place = scene.found, at(path, "config")
    read = read_shape(tree_of(entry.config), place, found, _SUBGRAPH)
    node = Node(entry.id, "subgraph")
    if not entry.spec:
        found.add(at(path, "spec"), "`spec` is missing: the path of the child graph", expected="a path", hint="spec: child.yaml")
        return Made(node)
    child = scene.child(entry, read.get("max_steps", 0), at(path, "spec"))
    if child is None:
        return Made(node)
    params: dict[str, Any] = {"name": child.id}
    if child.shared:
        for key in sorted(entry.config):
            said = "the child has no rules: it runs on this graph's state and is not configured"
            found.add(at(place, key), said, expected="no config", actual=entry.config[key], key=True)
        params |= {"shared": True, "inputs": {name: name for name in scene.ground.fields}}
        params["outputs"] = params["inputs"]
    else:
        params |= {"inputs": _inputs(read, child, place, scene), "outputs": _outputs(read, child, place, scene)}
    return Made(msgspec.structs.replace(node, params=params), child.effects, "", child.permissions, child)


def _inputs(read: dict[str, Any], child: ChildGraph, place: str, scene: Scene) -> dict[str, str]:
    """Child field → parent field. Without `inputs`: fields of the same name."""
    theirs = {field.name: field for field in child.fields}
    ours = scene.ground.fields
    inputs = read.get("inputs")
    if inputs is None:
        inputs = {name: name for name in theirs if name in ours}
    for name, field in inputs.items():
        path = at(place, "inputs", name)
        if name not in theirs:
            unknown_field(path, name, theirs, scene.found, key=True)
        _check_field(field, path, scene)
        _check_alike(theirs.get(name), ours.get(field), path, scene.found)
    for name, one in theirs.items():
        if one.required and name not in inputs:
            said = f"the child graph `{child.id}` needs its field `{name}`"
            scene.found.add(at(place, "inputs"), said, expected=name, hint=f"inputs: {{{name}: <a field of this graph>}}")
    return dict(inputs)


def _outputs(read: dict[str, Any], child: ChildGraph, place: str, scene: Scene) -> dict[str, str]:
    """Parent field → child field. Without `outputs`: fields of the same name."""
    theirs = {field.name: field for field in child.fields}
    ours = scene.ground.fields
    outputs = read.get("outputs")
    if outputs is None:
        outputs = {name: name for name in theirs if name in ours}
    for name, field in outputs.items():
        path = at(place, "outputs", name)
        _check_field(name, path, scene)
        if field not in theirs:
            unknown_field(path, field, theirs, scene.found)
        _check_alike(theirs.get(field), ours.get(name), path, scene.found)
    return dict(outputs)


def _check_alike(theirs: Field | None, ours: Field | None, path: str, found: Findings) -> None:
    if theirs is None or ours is None or "any" in (theirs.type, ours.type) or theirs.type == ours.type:
        return
    said = f"`{theirs.name}` of the child is {theirs.type}, `{ours.name}` here is {ours.type}"
    found.add(path, said, expected=ours.type, actual=theirs.type)
