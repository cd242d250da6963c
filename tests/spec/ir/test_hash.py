"""The hash of a graph: the same however it is written, another as soon as a run could go another way."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.spec.ir.compile import compile_value
from astrarium.spec.ir.hash import canonical_json, content_hash, fork_hash, runtime_hash
from astrarium.spec.ir.installed import Child, Code, Installed, Kind, Tool
from astrarium.spec.ir.state import StateClass

CHILD = '{"ir_version": "1.1.0", "id": "child", "nodes": [{"id": "c", "kind": "echo"}]}'


def _installed(source: str = "1", child: str = CHILD, kind: str = "", tool: str = "", state: str = "") -> Installed:
    return Installed(
        kinds={"echo": Kind(fingerprint=kind), "passthrough": Kind()},
        tools={"std.add@1": Tool(fingerprint=tool)},
        code=lambda path: Code(source),
        state_class=lambda path: StateClass({"properties": {"n": {"type": "integer"}}}, fingerprint=state),
        child=lambda path, parent: Child(child, path, path),
    )


def _document() -> dict[str, Any]:
    return {
        "ir_version": "1.1.0",
        "id": "graph:orders",
        "state_schema": {"n": {"type": "int", "default": 0}, "phase": "str"},
        "state_reducers": {"n": "sum"},
        "nodes": [
            {"id": "a", "kind": "echo", "config": {"x": 1}},
            {"id": "b", "kind": "shop.nodes:B", "timeout": 30, "retry": {"max_attempts": 2}},
            {"id": "t", "kind": "tool", "config": {"tool": "std.add@1", "static": {"a": 1}}},
            {"id": "s", "kind": "subgraph", "spec": "child.yaml"},
        ],
        "rules": [
            {"id": "r", "node_id": "a", "when": {"node": "a", "phase": "x"}, "then": [{"kind": "goto", "target": "b"}]},
            {"id": "q", "when": "cel: state.n > 3", "then": [{"kind": "halt"}]},
        ],
        "parallel": [{"targets": ["a", "b"], "join": "t"}],
        "governance": [{"id": "stargraph.bosun.audit"}],
    }


def _hash(document: dict[str, Any], installed: Installed | None = None) -> str:
    return compile_value(document, installed=installed or _installed()).hash


def _shuffled(value: Any, draw: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    if isinstance(value, list):
        return [_shuffled(one, draw) for one in value]
    return value


@given(st.data())
def test_the_order_of_keys_changes_nothing(data: st.DataObject) -> None:
    document = _document()
    shuffled = _shuffled(document, data.draw)
    shuffled["state_schema"] = document["state_schema"]  # the order of fields decides which rule goes first
    assert _hash(shuffled) == _hash(document)


CHANGES: dict[str, Any] = {
    "id": lambda d: d.update(id="graph:other"),
    "kind": lambda d: d["nodes"][0].update(kind="passthrough"),
    "config": lambda d: d["nodes"][0]["config"].update(x=2),
    "node key": lambda d: d["nodes"][1].update(timeout=31),
    "retry": lambda d: d["nodes"][1]["retry"].update(max_attempts=3),
    "order of nodes": lambda d: d["nodes"].reverse(),
    "order of rules": lambda d: d["rules"].reverse(),
    "when": lambda d: d["rules"][0]["when"].update(phase="y"),
    "expression": lambda d: d["rules"][1].update(when="cel: state.n > 4"),
    "salience": lambda d: d["rules"][1].update(salience=1),
    "halt only": lambda d: d["rules"].append({"id": "z", "when": {"node": "b"}, "then": [{"kind": "halt"}]}),
    "action": lambda d: d["rules"][0].update(then=[{"kind": "goto", "target": "t"}]),
    "block": lambda d: d["parallel"][0].update(strategy="any"),
    "no block": lambda d: d.pop("parallel"),
    "pack": lambda d: d["governance"].append({"id": "stargraph.bosun.retries"}),
    "type": lambda d: d["state_schema"].update(n={"type": "float", "default": 0}),
    "default": lambda d: d["state_schema"].update(n={"type": "int", "default": 1}),
    "order of fields": lambda d: d.update(state_schema=dict(reversed(d["state_schema"].items()))),
    "reducer": lambda d: d.update(state_reducers={"n": "max"}),
    "steps": lambda d: d.update(max_steps=7),
    "tools": lambda d: d.update(tools=[{"id": "std.add@1"}]),
}


def test_each_change_of_behaviour_is_another_hash() -> None:
    hashes = {"": _hash(_document())}
    for name, change in CHANGES.items():
        document = _document()
        change(document)
        hashes[name] = _hash(document)
    assert len(set(hashes.values())) == len(hashes), hashes
    assert all(len(one) == 64 and int(one, 16) >= 0 for one in hashes.values())


@pytest.mark.parametrize(
    "changed",
    [
        {"source": "2"},
        {"kind": "2"},
        {"tool": "2"},
        {"child": CHILD.replace("echo", "passthrough")},
    ],
)
def test_code_tools_and_child_graphs_count(changed: dict[str, str]) -> None:
    assert _hash(_document(), _installed(**changed)) != _hash(_document())


def test_the_class_of_the_state_counts() -> None:
    document = {"ir_version": "1.1.0", "id": "g", "nodes": [], "state_class": "shop:State"}
    assert _hash(document, _installed(state="1")) != _hash(document, _installed(state="2"))


@pytest.mark.parametrize(
    "change",
    [
        {"lm": {"provider": "sglang", "model": "m"}},
        {"checkpoints": {"every": "never", "store": "sqlite:x"}},
        {"migrate": [{"from_hash": "0" * 64, "to_hash": "1" * 64}]},
        {"concurrency_limit": 4},
    ],
)
def test_where_and_how_often_it_runs_does_not_count(change: dict[str, Any]) -> None:
    assert _hash({**_document(), **change}) == _hash(_document())


def test_where_a_rule_is_drawn_and_a_child_lies_does_not_count() -> None:
    document = _document()
    document["rules"][0]["node_id"] = "b"
    document["nodes"][3]["spec"] = "elsewhere/child.yaml"
    assert _hash(document) == _hash(_document())


def test_canonical_json_is_rfc_8785() -> None:
    value = {"\u20ac": 1, "\r": 2, "1": [1e30, 4.50, 1.0, 2e-3, 1e-27], "\U0001f600": None, "a": '\u000f\n"\\', "b": True}
    expected = '{"\\r":2,"1":[1e+30,4.5,1,0.002,1e-27],"a":"\\u000f\\n\\"\\\\","b":true,"\u20ac":1,"\U0001f600":null}'
    assert canonical_json(value).decode() == expected
    assert canonical_json({"n": 2**53, "m": -(2**53) + 1}) == b'{"m":-9007199254740991,"n":"9007199254740992"}'
    for wrong in (float("nan"), b"x", {"a": object()}):
        with pytest.raises(ValueError):
            canonical_json(wrong)


def test_the_hash_of_a_fork_is_of_parent_and_change() -> None:
    parent = "a" * 64
    plain = hashlib.sha256(b"stargraph-cf-v1\0" + parent.encode() + b"\0" + b'{"state_overrides":{"n":1}}').hexdigest()
    assert fork_hash(parent, {"state_overrides": {"n": 1}, "facts_assert": None}) == plain
    assert fork_hash(parent, {}) != fork_hash("b" * 64, {})


def test_the_hash_of_a_runtime() -> None:
    assert runtime_hash("3.11.7", "0.1.0") == hashlib.sha256(b"3.11.7\x000.1.0").hexdigest()
    assert (
        content_hash({"b": 1, "a": 2}) == hashlib.sha256(json.dumps({"a": 2, "b": 1}, separators=(",", ":")).encode()).hexdigest()
    )


def test_the_hash_of_a_document_stays_what_it_is() -> None:
    """Kept runs are resumed by it: a change here orphans them, and needs a decision."""
    document = {
        "ir_version": "1.1.0",
        "id": "graph:greet",
        "state_schema": {"message": "str"},
        "nodes": [{"id": "first", "kind": "passthrough"}, {"id": "second", "kind": "passthrough"}],
    }
    assert compile_value(document).hash == "803ccb29331d1c190c2751eb42ca2caf7dd074b7c3c0550f742fb6951b3367a8"
    assert (
        compile_value(_document(), installed=_installed()).hash
        == "0c659ae74d8a7d05a84b502fc2c4eaf6967df697af557d3312d7a966466a184e"
    )
