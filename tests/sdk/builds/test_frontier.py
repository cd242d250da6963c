"""The frontier gives each task once, never before what it needs, and loses none."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrarium.sdk.builds.frontier import Frontier


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_task_ends_in_one_way_and_after_what_it_needs(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12))
    rng = random.Random(data.draw(st.integers(0, 10**6)))
    needs = {str(n): [str(m) for m in range(n) if rng.random() < 0.3] for n in range(size)}
    made_before = {name for name in needs if rng.random() < 0.15}
    bad = {name for name in needs if rng.random() < 0.2} - made_before
    yields = {name: [other for other in needs if int(other) < int(name) and rng.random() < 0.2] for name in needs}
    frontier = Frontier()
    for name, upstreams in needs.items():
        frontier.add(name, upstreams, done=name in made_before)
        frontier.add(name, (), done=True)
    order: list[str] = []
    while taken := frontier.take(rng.randint(1, 3)):
        rng.shuffle(taken)
        for name in taken:
            assert set(needs[name]) <= frontier.done
            if yields[name] and name not in order:
                order.append(name)
                lost = frontier.wait(name, yields.pop(name))
                yields[name] = []
                if lost:
                    frontier.fail(name)
            elif name in bad:
                frontier.fail(name)
            else:
                frontier.finish(name)
    ends = [frontier.done, frontier.failed, frontier.skipped]
    assert sum(map(len, ends)) == size and set().union(*ends) == set(needs)
    assert frontier.waiting() == [] and not frontier.taken
    for name in frontier.skipped:
        assert name not in made_before


def test_ready_tasks_come_in_the_order_they_were_entered() -> None:
    frontier = Frontier()
    for name in "abc":
        frontier.add(name)
    frontier.add("d", ["c"])
    assert frontier.take(2) == ["a", "b"]
    assert frontier.take(5) == ["c"]
    frontier.finish("c")
    assert frontier.take(5) == ["d"]


def test_tasks_that_wait_for_each_other_are_named() -> None:
    frontier = Frontier()
    frontier.add("a", ["b"])
    frontier.add("b", ["a"])
    assert frontier.take(9) == [] and frontier.waiting() == ["a", "b"]


@pytest.mark.parametrize("end", ["fail", "finish"])
def test_a_task_may_need_one_that_is_entered_later(end: str) -> None:
    frontier = Frontier()
    frontier.add("a", ["b"])
    frontier.add("b")
    assert frontier.take(9) == ["b"]
    getattr(frontier, end)("b")
    assert (frontier.take(9), frontier.skipped) == ((["a"], set()) if end == "finish" else ([], {"a"}))
