"""The short form: `state`, `nodes` by name and `routes`, turned into the IR document it stands for.

The values of the document are the author's own nodes, so that a defect found later is told where it was written.
Stargraph 0.8: contract 11.10; accepted everywhere.
"""

from __future__ import annotations

import re
from typing import Any

from ..source import YamlNode
from .read import WRONG, Findings, Key, Shape, anything, at, filled, flag, listing, mapping, one_of, read_shape, tree_of

IR_VERSION = "1.1.0"
END = "done"
_ZEROS: dict[str, Any] = {"str": "", "int": 0, "float": 0.0, "bool": False, "list": [], "dict": {}}
_TYPE = one_of(*_ZEROS)
_ROOT: Shape = {
    "id": Key(filled),
    "state": Key(mapping),
    "nodes": Key(mapping),
    "routes": Key(mapping),
    "lm": Key(mapping),
}
_STATE: Shape = {"type": Key(_TYPE, True), "route": Key(flag), "default": Key(anything)}
_OF_NODE = ("kind", "spec", "retry", "timeout", "budget", "allow_unsafe_cancel")
"""Keys of a node that are not its configuration."""
_ROUTED = "verdict"


def is_short(root: YamlNode) -> bool:
    """A mapping without `ir_version` whose `nodes` are a mapping."""
    nodes = root.entries.get("nodes")
    return root.kind == "map" and "ir_version" not in root.entries and nodes is not None and nodes[1].kind == "map"


def expand_short(root: YamlNode, found: Findings) -> YamlNode:
    """The IR document of a short one, into which pointers lead from then on."""
    read = read_shape(root, "", found, _ROOT)
    state = root.entries.get("state")
    routed: set[str] = set()
    fields = _fields(state[1], found, routed) if state and isinstance(read.get("state"), dict) else None
    nodes = _nodes(root.entries["nodes"][1], found)
    routes = root.entries.get("routes")
    rules = (
        _rules(routes[1], set(root.entries["nodes"][1].entries), (set(fields.entries) if fields else set(), routed), found)
        if routes and "routes" in read
        else None
    )
    whole: dict[str, YamlNode] = {"ir_version": _text(root, IR_VERSION), "nodes": nodes}
    if "id" in read:
        given = root.entries["id"][1]
        whole["id"] = given if read["id"].startswith("graph:") else _text(given, f"graph:{read['id']}")
    if fields is not None:
        whole["state_schema"] = fields
    if rules is not None:
        whole["rules"] = rules
    if "lm" in read:
        whole["lm"] = root.entries["lm"][1]
    found.tree = _map(root, whole)
    found.stands_for[id(found.tree)] = root
    return found.tree


def _text(place: YamlNode, value: str) -> YamlNode:
    node = place.beside("scalar")
    node.text = node.value = value
    return node


def _map(place: YamlNode, entries: dict[str, YamlNode]) -> YamlNode:
    node = place.beside("map")
    node.entries = {name: (_text(value, name), value) for name, value in entries.items()}
    return node


def _list(place: YamlNode, items: list[YamlNode]) -> YamlNode:
    node = place.beside("list")
    node.items = items
    return node


def _fields(state: YamlNode, found: Findings, routed: set[str]) -> YamlNode:
    """Each field with its default; the zero of its type when none is given."""
    fields: dict[str, YamlNode] = {}
    for name, (_, value) in state.entries.items():
        path = at("/state", name)
        read = read_shape(value, path, found, _STATE) if value.kind == "map" else {"type": _TYPE(value, path, found)}
        kind = read.get("type", WRONG)
        if read.get("route"):
            routed.add(name)
        if kind is WRONG:
            kind = "str"
        default = value.entries["default"][1] if "default" in read else tree_of(_ZEROS[kind])
        at_type = value.entries["type"][1] if value.kind == "map" and "type" in value.entries else value
        fields[name] = _map(value, {"type": _text(at_type, kind), "default": default})
    return _map(state, fields)


def _nodes(nodes: YamlNode, found: Findings) -> YamlNode:
    items = []
    for name, (key, value) in nodes.entries.items():
        if value.kind != "map":
            found.add(
                at("/nodes", name), f"the node `{name}` is a mapping with `kind`", expected="a mapping", actual=value.plain()
            )
            continue
        own = {word: entry[1] for word, entry in value.entries.items() if word in _OF_NODE}
        config = {word: entry for word, entry in value.entries.items() if word not in _OF_NODE and word != "config"}
        inner = value.entries.get("config")
        if inner is not None and inner[1].kind == "map":
            config |= inner[1].entries
        made = {"id": key if isinstance(key.value, str) else _text(key, name), **own}
        if config:
            made["config"] = value.beside("map")
            made["config"].entries = {word: _versioned(own.get("kind"), word, entry) for word, entry in config.items()}
        items.append(_map(value, made))
        found.stands_for[id(items[-1])] = value
    return _list(nodes, items)


def _versioned(kind: YamlNode | None, word: str, entry: tuple[YamlNode, YamlNode]) -> tuple[YamlNode, YamlNode]:
    """The id of a tool without a version means its version 1."""
    key, value = entry
    bare = kind is not None and kind.value == "tool" and word == "tool" and isinstance(value.value, str) and "@" not in value.text
    return key, _text(value, f"{value.text}@1") if bare else value


def _rules(routes: YamlNode, nodes: set[str], fields: tuple[set[str], set[str]], found: Findings) -> YamlNode:
    """`fields`: those of the state, and the routed ones among them."""
    state, routed = fields
    rules: list[YamlNode] = []
    taken: set[str] = set()
    for name, (key, value) in routes.entries.items():
        path = at("/routes", name)
        if name not in nodes:
            said = f"there is no node `{name}`{found.suggest(name, nodes)}"
            found.add(path, said, expected="a node's name", actual=name, hint=listing("nodes", sorted(nodes)), key=True)
            continue
        if value.kind == "scalar":
            rules.append(_rule(_free(f"r-{name}", taken), key, name, None, value, path, nodes, found))
        elif value.kind == "map":
            if _ROUTED in state and _ROUTED not in routed:
                hint = f"state: {{{_ROUTED}: {{type: str, route: true}}}}"
                said = f"routes by value test the field `{_ROUTED}`, which is not routed"
                found.add(path, said, expected=f"a field `{_ROUTED}` with `route: true`", hint=hint)
            for word, (_, target) in value.entries.items():
                rule_id = _free(f"r-{name}-{_slug(word)}", taken)
                rules.append(_rule(rule_id, key, name, word, target, at(path, word), nodes, found))
        else:
            found.add(
                path, "a route is a node's name, or a mapping from values to them", expected="a target", actual=value.plain()
            )
    return _list(routes, rules)


def _slug(word: str) -> str:
    return re.sub(r"[^a-z0-9_.-]+", "-", word.lower()).strip("-") or "value"


def _free(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    taken.add(name)
    return name


def _rule(
    rule_id: str, key: YamlNode, node: str, word: str | None, target: YamlNode, path: str, nodes: set[str], found: Findings
) -> YamlNode:
    goal = target.value if isinstance(target.value, str) else None
    if goal is None or (goal != END and goal not in nodes):
        near = found.suggest(target.text, [*nodes, END])
        wanted = f"a node's name or {END}"
        hint = listing("nodes", sorted(nodes))
        found.add(path, f"there is no node `{target.plain()}`{near}", expected=wanted, actual=target.plain(), hint=hint)
        goal = END
    ends = goal == END and END not in nodes
    when = {"node": _text(key, node)} | ({} if word is None else {_ROUTED: _text(target, word)})
    made = {"kind": _text(target, "halt"), "reason": _text(target, f"{node} complete")} if ends else {
        "kind": _text(target, "goto"), "target": target,
    }  # fmt: skip
    then = _list(target, [_map(target, made)])
    return _map(key, {"id": _text(key, rule_id), "when": _map(key, when), "then": then, "node_id": _text(key, node)})
