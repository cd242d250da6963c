"""Conditions in CEL: what they may name, what they answer when they have no value, what they may cost."""

from __future__ import annotations

from typing import Any

import pytest

from astrarium.errors import Invalid, TooMuch
from astrarium.spec.ir.cel import compile_cel

STATE = {"n": 5, "name": "ask", "items": [1, 2, 3], "deep": {"a": 1.5}, "raw": b"x", "good": True, "none": None}
SHOWN: dict[str, Any] = {
    "node": "ask",
    "state": STATE,
    "answer": {"decision": "approve"},
    "facts": [{"fact": "late", "slots": {"why": "x"}}],
    "outcome": "succeeded",
    "visits": 3,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("state.n > 3 && node == 'ask'", True),
        ("state.n > 4.5", True),
        ("state.n in [1, 5]", True),
        ("state.name.startsWith('a') && state.name.matches('^a.k$')", True),
        ("state.items.exists(i, i == 2) && size(state.items) == 3", True),
        ("state.deep.a == 1.5 && state.none == null && state.raw == b'x'", True),
        ("state['n'] == 5", True),
        ("has(state.n) && !has(state.nothing)", True),
        ("answer.decision == 'approve' && outcome == 'succeeded' && visits >= 3", True),
        ("facts.exists(f, f.fact == 'late' && f.slots.why == 'x')", True),
        ("state.good", True),
        ("state.n == 6", False),
        ("state.nothing > 3", False),
        ("state.name > 3", False),
        ("state.n / 0 == 1", False),
        ("state.n", False),
        ("state.n == 5 // state.gone", True),
        ("'state.gone' != ''", True),
    ],
)
def test_a_condition_holds_or_not(text: str, expected: bool) -> None:
    assert compile_cel(text).holds(SHOWN) is expected


def test_nothing_is_there_when_nothing_is_shown() -> None:
    assert compile_cel("node == '' && size(facts) == 0 && visits == 0 && !has(answer.x)").holds({}) is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the condition is empty"),
        ("1 + 1", "this one is INT"),
        ("state.n >", "Syntax error"),
        ("nod == 'a'", "undeclared reference to 'nod'"),
        ("node > 3", "found no matching overload"),
        ("(" * 60 + "true" + ")" * 60, "recursion limit"),
        ("node == '" + "x" * 3000 + "'", "at most 2048 characters"),
        ("state.l" + ".map(a, a)" * 5 + " == []", "at most 4 macros"),
        ("state.gone == 1 && state.n == 1 && state.lost == 2", "the state has no field `gone`"),
    ],
)
def test_what_cannot_be_judged_is_refused(text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        compile_cel(text, tuple(STATE))
    assert message in caught.value.problems[0].message


def test_every_unknown_field_is_told_and_every_known_one_used() -> None:
    with pytest.raises(Invalid) as caught:
        compile_cel("state.a == 1 && state.b == 2", ())
    assert len(caught.value.problems) == 2
    program = compile_cel("state.n == 1 && (state . name == 'x' || state.n > 2) && outcome == ''")
    assert (program.uses, program.whole, program.names) == (("n", "name"), False, ("state", "outcome"))
    assert compile_cel("state['n'] == 1").whole


def test_a_condition_is_shown_only_what_it_names() -> None:
    """A value that CEL could not even be given does not matter to who does not look at it."""
    assert compile_cel("state.n == 5").holds({"state": {"n": 5, "odd": object(), "big": 1 << 80}, "facts": object()}) is True


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("state.s == ''", {"s": "x" * 1_000_001}),
        ("state.l.all(i, i >= 0)", {"l": list(range(5000))}),
        ("state.l.all(i, state.l.all(k, i + k >= 0))", {"l": list(range(300))}),
        ("state.l.map(i, state.s + state.s).size() > 0", {"l": list(range(300)), "s": "x" * 100_000}),
    ],
)
def test_what_costs_too_much_is_not_judged(text: str, state: dict[str, Any]) -> None:
    with pytest.raises(TooMuch):
        compile_cel(text).holds({"state": state})
