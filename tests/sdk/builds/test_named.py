"""Tasks by a name and texts."""

from __future__ import annotations

from typing import Any

import pytest

import astrarium as ar
from astrarium.errors import Invalid, NotFound
from astrarium.sdk.builds.named import find_tasks
from tests.sdk.pipeline import numbers, report, total

ar.auto_namespace(__name__)

HERE = __name__

one = total(values=numbers(limit=4))


class Wide(ar.Task[int]):
    text: str
    flag: bool = False
    names: list[str] = []
    share: float | None = None


def several(limit: int, kind: str = "x") -> dict[str, Any]:
    return {"a": numbers(limit=limit), "b": [report(value=limit, title=kind)]}


def wrong(limit: int) -> int:
    return limit


def inner(limit: int) -> None:
    limit.nothing()  # type: ignore[attr-defined]


constant = 3


def test_a_task_stands_as_it_is() -> None:
    assert find_tasks(f"{HERE}:one", {}) == [one]
    with pytest.raises(Invalid, match="takes no parameters"):
        find_tasks(f"{HERE}:one", {"limit": "3"})


def test_texts_become_what_the_fields_are() -> None:
    given = {"text": "4", "flag": "true", "names": '["a", "b"]', "share": "null"}
    assert find_tasks(f"{HERE}:Wide", given) == [Wide(text="4", flag=True, names=["a", "b"], share=None)]
    assert find_tasks(f"{HERE}:Wide", {"text": "x", "names": ["a"]}) == [Wide(text="x", names=["a"])]


def test_a_function_may_give_several() -> None:
    assert find_tasks(f"{HERE}:several", {"limit": "2"}) == [numbers(limit=2), report(value=2, title="x")]


@pytest.mark.parametrize(
    ("name", "params", "error", "told"),
    [
        ("plain", {}, Invalid, "names no task"),
        (f"{HERE}:", {}, Invalid, "names no task"),
        ("nowhere.at.all:x", {}, NotFound, "no module"),
        (f"{HERE}:missing", {}, NotFound, "has no 'missing'"),
        (f"{HERE}:constant", {}, Invalid, "is int, not a task"),
        (f"{HERE}:Wide", {"flag": "maybe", "text": "x"}, Invalid, "flag"),
        (f"{HERE}:several", {"nothing": "1"}, Invalid, "does not take"),
        (f"{HERE}:wrong", {"limit": "1"}, Invalid, "expected a task"),
    ],
)
def test_what_cannot_be_is_told(name: str, params: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        find_tasks(name, params)


def test_an_error_inside_a_function_is_its_own() -> None:
    with pytest.raises(AttributeError):
        find_tasks(f"{HERE}:inner", {"limit": "1"})
