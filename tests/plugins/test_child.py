"""Which runs a child step starts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from astrarium.plugins.steps.child import MAX_ITEMS, STEP, split_items
from astrarium.runs.ports import Spawn, StepFailed
from astrarium.spec.graph import Graph, Node
from astrarium.spec.ids import child_run_key
from tests.contracts.step import FakeTry


@pytest.fixture
def parent(ctx: FakeTry) -> FakeTry:
    ctx.graphs["sub"] = Graph(name="sub")
    ctx.node = Node(name="each", kind="child")
    return ctx


async def spawn(ctx: FakeTry, **params: Any) -> Spawn:
    found = (await ctx.run(STEP, name="sub", **params)).spawn
    assert found is not None
    return found


async def texts(ctx: FakeTry, items: Any, params: str = "") -> list[str]:
    return [child.params for child in (await spawn(ctx, params=params, parallel={"items": items})).children]


async def test_one_child(parent: FakeTry) -> None:
    parent.variables["DAY"] = "monday"
    one = await spawn(parent, params="DAY=$DAY")
    (child,) = one.children
    assert (child.graph, child.name, child.params) == ("hash-of-sub", "sub", "DAY=monday")
    assert child.key == child_run_key("run-1", "each", "DAY=monday")
    assert (one.parallel, one.max_active) == (False, 0)


async def test_a_later_pass_starts_new_runs(parent: FakeTry) -> None:
    first = await spawn(parent)
    parent.pass_no = 1
    assert (await spawn(parent)).children[0].key != first.children[0].key


async def test_items_take_the_place_of_their_references(parent: FakeTry) -> None:
    assert await texts(parent, ["eu", "us"], "REGION=${ITEM} X=$ITEM") == ["REGION=eu X=eu", "REGION=us X=us"]
    items = [{"name": "a", "n": "1"}, {"name": "b", "n": "2"}]
    assert await texts(parent, items, "${ITEM.name}-${ITEM.n}-${ITEM.no}") == ["a-1-${ITEM.no}", "b-2-${ITEM.no}"]


async def test_without_params_an_item_is_the_params(parent: FakeTry) -> None:
    assert await texts(parent, ["A=1 B=2", {"K": 'say "x"'}]) == ["A=1 B=2", 'K="say \\"x\\""']


async def test_values_with_blanks_and_quotes_stay_one_value(parent: FakeTry) -> None:
    assert await texts(parent, ["a b", 'q"'], "P=${ITEM}") == ['P="a b"', 'P="q\\""']
    assert await texts(parent, ['q"'], 'P="${ITEM}"') == ['P="q\\""']
    parent.variables["DATA"] = '{"n": 3}'
    assert (await spawn(parent, params='P="${DATA}"')).children[0].params == 'P="{\\"n\\": 3}"'


async def test_items_are_not_expanded_twice(parent: FakeTry) -> None:
    parent.variables |= {"ITEMS": json.dumps(["$SECRET", "`id`"]), "SECRET": "no"}
    assert await texts(parent, "${ITEMS}", "X=${ITEM}") == ["X=$SECRET", "X=`id`"]


async def test_equal_parameters_run_once(parent: FakeTry) -> None:
    assert await texts(parent, ["a", "b", "a"], "X=${ITEM}") == ["X=a", "X=b"]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('["a", 1, {"k": "v"}]', ["a", 1, {"k": "v"}]),
        ("a\nb c\n", ["a", "b c"]),
        ("a, b c", ["a", "b c"]),
        ("a;b|c", ["a", "b|c"]),
        ("a|b", ["a", "b"]),
        ("a\tb", ["a", "b"]),
        ("a  b", ["a", "b"]),
        ("[not json", ["[not", "json"]),
        ("one", ["one"]),
        ("  ", []),
    ],
)
def test_a_text_of_items(text: str, items: list[Any]) -> None:
    assert split_items(text) == items


async def test_no_items_are_a_summary_of_nothing(parent: FakeTry) -> None:
    result = await parent.run(STEP, name="sub", parallel={"items": "$EMPTY "})
    assert result.spawn is not None
    parent.variables["EMPTY"] = ""
    result = await parent.run(STEP, name="sub", parallel={"items": "$EMPTY"})
    assert result.spawn is None and json.loads(result.output or "")["summary"]["total"] == 0


async def test_too_many_items(parent: FakeTry) -> None:
    parent.variables["MANY"] = json.dumps(list(range(MAX_ITEMS + 1)))
    with pytest.raises(StepFailed, match="at most 10000"):
        await texts(parent, "$MANY")
    parent.variables["MANY"] = json.dumps(list(range(MAX_ITEMS)))
    assert len(await texts(parent, "$MANY")) == MAX_ITEMS


async def test_a_missing_dag_fails_the_step(parent: FakeTry) -> None:
    with pytest.raises(StepFailed, match="cannot call DAG `other`: no DAG is named `other`"):
        await parent.run(STEP, name="other")
