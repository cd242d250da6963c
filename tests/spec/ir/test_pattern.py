"""Raw patterns: what is allowed, what is told, what is found."""

from __future__ import annotations

import pytest

from astrarium.spec.ir.rule.pattern import read_facts, read_pattern

NODES = ("ask", "b")
SLOTS = {"phase": ("value",), "late": ("why", "by")}


@pytest.mark.parametrize(
    "text",
    [
        '(node-id (id ask)) (phase (value "more"))',
        "(node-id (id ask|b))",
        "(node-id (id ~ask&~b))",
        "(node-id (id ?))",
        "(phase (value ?x&:(> (str-length ?x) 3)))",
        "(not (phase (value a)))",
        "(or (phase (value a)) (and (phase (value b)) (late (why ?w))))",
        "?fact <- (late (why ?w) (_origin rule)) (test (eq ?w x))",
        '(node-id (id ?x)) ; a remark with ) and (\n(phase (value ?v&:(neq ?v "x;y")))',
        "(stargraph-tool-call (tool_id ?t) (args_count ?n&:(>= ?n 2)))",
        "(exists (respond (key decision) (value approve)))",
    ],
)
def test_good_patterns_are_kept_as_written(text: str) -> None:
    pattern, problems = read_pattern(text, NODES, SLOTS)
    assert problems == []
    assert pattern.text == text


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", (1, 1), "there is no pattern"),
        ("(node-id (id nope))", (1, 14), "there is no node `nope`"),
        ("(node-id (id ask|nope))", (1, 18), "there is no node `nope`"),
        ("(phase\n  (worth x))", (2, 3), "have no slot `worth`"),
        ("(fase (value x))", (1, 1), "there are no facts `fase`"),
        ("(phase (value))", (1, 8), "the slot `value` says nothing"),
        ("(phase x)", (1, 1), "holds slots in parentheses"),
        ("((phase))", (1, 1), "begins with the name of a template"),
        ("(phase (value x)", (1, 1), "a `(` is not closed"),
        ("(phase (value x)))", (1, 18), "a `)` closes nothing"),
        ('(phase (value "x))', (1, 15), "a text is not closed"),
        ("phase", (1, 1), "stands outside of parentheses"),
        ("(phase (value x)) => (system rm)", (1, 19), "`=>` stands outside of parentheses"),
        ('(phase (value ?x&:(system "rm")))', (1, 19), "`system` cannot be called"),
        ("(phase (value =(eval ?x)))", (1, 16), "`eval` cannot be called"),
        ("(test (and (> 1 0) (open f)))", (1, 20), "`open` cannot be called"),
        ("(test x)", (1, 1), "holds one call"),
        ("(not (phase (value a)) (phase (value b)))", (1, 1), "holds one condition"),
        ("(or)", (1, 1), "holds conditions in parentheses"),
        ("(phase (value a)) (declare (salience 3))", (1, 19), "stands once, before all patterns"),
        ("(declare (salience (random))) (phase (value a))", (1, 1), "n from -10000 to 10000"),
        ("(declare (salience 99999)) (phase (value a))", (1, 1), "n from -10000 to 10000"),
        ("(not " * 40 + "(phase (value a))" + ")" * 40, (1, 161), "nested deeper than 32 levels"),
        ("(phase (value a))" * 600, (1, 1), "at most 8192 characters"),
    ],
)
def test_a_defect_is_told_with_its_place_in_the_text(text: str, place: tuple[int, int], message: str) -> None:
    _, problems = read_pattern(text, NODES, SLOTS)
    assert [(one.line, one.column) for one in problems] == [place]
    assert message in problems[0].message


def test_what_a_pattern_is_about() -> None:
    pattern, problems = read_pattern("(declare (salience -7)) (phase (value ?)) (node-id (id ask))", NODES, SLOTS)
    assert problems == []
    assert (pattern.salience, pattern.node, pattern.templates) == (-7, "ask", ("phase", "node-id"))
    assert pattern.text == "(phase (value ?)) (node-id (id ask))"
    for open_ in ("(node-id (id ~ask))", "(node-id (id ?n))", "(not (node-id (id ask)))", "(node-id (id ask|b))"):
        assert read_pattern(open_, NODES, SLOTS)[0].node == ""


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("late", ("late", {})),
        ("(late)", ("late", {})),
        ('(late (why "a \\"b\\"") (by me))', ("late", {"why": 'a "b"', "by": "me"})),
        ("(late (why ?x))", None),
        ("(late why)", None),
        ("?f", None),
        ("(late) (late)", None),
        ("(late", None),
        ("", None),
    ],
)
def test_what_a_retraction_names(text: str, facts: tuple[str, dict[str, str]] | None) -> None:
    assert read_facts(text) == facts
