"""The fields of a state: from `state_schema`, and from the JSON schema of a class as Pydantic writes it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from astrarium.spec.ir.compile import compile_graph
from astrarium.spec.ir.flow import Field as StateField
from astrarium.spec.ir.flow import Flow
from astrarium.spec.ir.installed import Installed
from astrarium.spec.ir.state import Mirror, StateClass


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str


class State(BaseModel):
    text: str
    count: int = 0
    score: float | None = None
    phase: Literal["more", "stop"] = "more"
    colour: Colour = Colour.RED
    item: Item | None = None
    items: list[Item] = []
    extra: dict[str, Any] = Field(default_factory=dict)
    either: int | str = 1
    raw: Annotated[bytes, Field(description="bytes")] = b""
    flag: bool = False
    anything: Any = None


def flow_of(text: str, installed: Installed | None = None) -> Flow:
    flow = compile_graph(text, installed=installed or Installed()).graph.flow
    assert flow is not None
    return flow


def _of_class(schema: dict[str, Any], mirrors: dict[str, Mirror] | None = None) -> Flow:
    installed = Installed(state_class=lambda path: StateClass(schema, mirrors or {}, {"extra": {"made": 1}}, "f"))
    return flow_of('ir_version: "1.1.0"\nid: g\nnodes: []\nstate_class: "shop:State"', installed)


def test_declared_fields_keep_their_order_and_are_required_without_a_default() -> None:
    flow = flow_of(
        'ir_version: "1.1.0"\nid: g\nnodes: []\nstate_reducers: {a: union}\n'
        "state_schema: {z: str, a: {type: list, default: [1]}, raw: bytes, f: {type: float, default: 1}}"
    )
    assert flow.fields == (
        StateField("z", "str", required=True),
        StateField("a", "list", default=[1], reducer="union"),
        StateField("raw", "bytes", required=True),
        StateField("f", "float", default=1),
    )
    assert not flow.open_state


def test_the_fields_of_a_class() -> None:
    flow = _of_class(State.model_json_schema(), {"phase": Mirror("stage", "step"), "count": Mirror()})
    found = {field.name: field for field in flow.fields}
    assert list(found) == list(State.model_fields)
    assert {name: field.type for name, field in found.items()} == {
        "text": "str",
        "count": "int",
        "score": "float",
        "phase": "str",
        "colour": "str",
        "item": "dict",
        "items": "list",
        "extra": "dict",
        "either": "any",
        "raw": "bytes",
        "flag": "bool",
        "anything": "any",
    }
    assert [name for name, field in found.items() if field.required] == ["text"]
    assert [name for name, field in found.items() if field.nullable] == ["score", "item", "anything"]
    assert (found["phase"].template, found["phase"].lifecycle, found["count"].template) == ("stage", "step", "")
    assert found["extra"].default == {"made": 1}
    assert found["count"].default == 0 and found["colour"].default == "red"
    assert "$defs" in found["items"].schema and "$defs" not in found["text"].schema


def test_a_class_may_take_more_than_it_declares() -> None:
    class Open(State, extra="allow"):
        pass

    assert _of_class(Open.model_json_schema()).open_state
    assert not _of_class(State.model_json_schema()).open_state


def test_a_class_nobody_can_import_here_may_have_any_field() -> None:
    head = 'ir_version: "1.1.0"\nid: g\nnodes: [{id: a, kind: echo}]\nstate_class: "shop:State"\n'
    flow = flow_of(head + 'rules: [{id: r, when: {phase: x, n: {gt: 3}}}, {id: s, when: "cel: state.n > 3"}]')
    assert flow.open_state and flow.fields == ()
    assert [test.field for test in flow.rules[0].tests] == ["phase", "n"]
    assert flow.rules[1].uses == ("n",)


def test_rules_know_a_mirrored_field_by_its_template() -> None:
    head = 'ir_version: "1.1.0"\nid: g\nnodes: [{id: a, kind: echo}]\nstate_class: "shop:State"\n'
    schema = {"properties": {"phase": {"type": "string"}}}
    installed = Installed(state_class=lambda path: StateClass(schema, {"phase": Mirror("the-stage")}))
    flow = flow_of(
        f'{head}rules: [{{id: r, when: {{phase: x}}}}, {{id: s, when: {{the.stage: x}}}}, {{id: t, when: "(the-stage (value x))"}}]',
        installed,
    )
    assert [test.field for rule in flow.rules for test in rule.tests] == ["the-stage", "the-stage"]
    assert flow.rules[2].clips == "(the-stage (value x))"
