"""Functions as tasks: what they may look like, what their parameters take, what their bodies get."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import pytest
from pydantic import ValidationError

import astrarium as ar
from astrarium.errors import Invalid


@ar.task
def fn_count(limit: int) -> int:
    return limit


@ar.task
def fn_text(word: str) -> str:
    return word


@ar.task
def fn_shape(
    one: ar.Depends[int],
    several: list[ar.Depends[int]],
    named: dict[str, ar.Depends[int]],
    maybe: Optional[ar.Depends[int]] = None,  # noqa: UP045
    plain: int = 0,
    either: list[ar.Depends[int]] | None = None,
) -> Any:
    return [one, several, named, maybe, plain, *(either or [])]


@pytest.fixture(autouse=True)
def _roots(roots: Path) -> None:
    """A folder of their own."""


def test_calling_makes_a_task_and_call_runs_the_function() -> None:
    task = fn_count(limit=3)
    assert isinstance(task, ar.Task) and not task.complete()
    assert (fn_count.call(limit=3), fn_count.call(4)) == (3, 4)
    assert not task.complete(), "nothing is kept"


def test_inputs_are_loaded_wherever_they_stand() -> None:
    task = fn_shape(one=fn_count(limit=1), several=[fn_count(limit=2), fn_count(limit=3)], named={"x": fn_count(limit=4)})
    assert set(ar.tasks_in(task.requires())) == {fn_count(limit=number) for number in (1, 2, 3, 4)}
    ar.build(task)
    assert task.load() == [1, [2, 3], {"x": 4}, None, 0]
    other = task.model_copy(update={"maybe": fn_count(limit=5), "plain": fn_count(limit=6)})
    assert other.id != task.id, "a copy has an id of its own"
    ar.build(other)
    assert other.load() == [1, [2, 3], {"x": 4}, 5, 6]
    third = fn_shape(one=fn_count(limit=1), several=[], named={}, either=[fn_count(limit=7)])
    ar.build(third)
    assert third.load() == [1, [], {}, None, 0, 7]


def test_depends_takes_only_a_task_of_that_type() -> None:
    with pytest.raises(ValidationError, match="expected a task that loads int, fn_text loads str"):
        fn_shape(one=fn_text(word="a"), several=[], named={})
    with pytest.raises(ValidationError):
        fn_shape(one=3, several=[], named={})
    with pytest.raises(ValidationError, match="found a dict without the names"):
        fn_shape(one={}, several=[], named={})


def test_parameters_are_checked_and_unknown_ones_refused() -> None:
    with pytest.raises(ValidationError):
        fn_count(limit="many")
    with pytest.raises(ValidationError, match="Extra inputs"):
        fn_count(limit=1, limits=2)
    assert fn_count(limit="12").limit == 12


def test_functions_that_cannot_be_tasks_are_refused_with_the_reason() -> None:
    def bare(a) -> int:  # type: ignore[no-untyped-def]
        return 1

    def silent(a: int):  # type: ignore[no-untyped-def]
        return 1

    def many(*a: int) -> int:
        return 1

    def takes_version(version: str) -> str:
        return version

    def grows(a: int) -> Iterator[int]:
        yield a

    for function, said in (
        (bare, "does not annotate its parameter 'a'"),
        (silent, "does not annotate what it returns"),
        (many, "takes 'a' as variadic positional"),
        (takes_version, "may not name a parameter 'version'"),
        (grows, "is a generator"),
    ):
        with pytest.raises(Invalid, match=said) as told:
            ar.task(function)
        assert told.value.hint


def test_name_version_place_and_root_can_be_chosen(tmp_path: Path) -> None:
    @ar.task(name="chosen", version="3", relpath="a/b.txt", target_root_key="other")
    def fn_named(day: dt.date) -> str:
        return str(day)

    @ar.task(relpath=lambda task: f"by-day/{task.day}.txt")
    def fn_by_day(day: dt.date) -> str:
        return str(day)

    with ar.use_target_roots({"default": str(tmp_path / "one"), "other": str(tmp_path / "two")}):
        task = fn_named(day=dt.date(2020, 1, 2))
        assert (task.get_name(), task.version, task.target().uri) == ("chosen", "3", str(tmp_path / "two/a/b.txt"))
        assert fn_by_day(day=dt.date(2020, 1, 2)).target().uri == str(tmp_path / "one/by-day/2020-01-02.txt")
    assert fn_named(day=dt.date(2020, 1, 2), version="4").id != task.id


def test_a_parameter_may_say_that_it_does_not_count() -> None:
    @ar.task
    def fn_threads(limit: int, threads: Annotated[int, ar.Field(significant=False)] = 1) -> int:
        return limit

    assert fn_threads(limit=1, threads=2).id == fn_threads(limit=1).id
    assert fn_threads(limit=1, threads=2).instance_hash != fn_threads(limit=1).instance_hash
    assert fn_threads(limit=1, threads=2) != fn_threads(limit=1)
    with pytest.raises(Invalid, match="not significant"):
        ar.Field(compat_default=1, significant=False)


async def test_an_async_function_is_called_and_built_as_one() -> None:
    @ar.task
    async def fn_waits(word: str) -> str:
        return word * 2

    assert await fn_waits.call(word="a") == "aa"
    assert (await ar.build_aio(fn_waits(word="b"))).task_count.succeeded == 1
    assert await fn_waits(word="b").load_aio() == "bb"
