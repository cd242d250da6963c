"""Rules of packs: what they may hold, and where what they may not is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.spec.ir.pack.rules import MAX_RULES_BYTES, read_rules

FIELDS = {"amount": ("value",)}
CHANGES = "`(modify …)` changes a fact of the pack's own, which the rule has matched"
FACTS = {"acme.flag": ("value", "why")}


def defects(text: str) -> list[str]:
    read = read_rules(text, "acme", "1.0", ("/governance/0", "acme/rules.clp"), FIELDS, FACTS)
    assert all(one.path == "/governance/0" and one.file == "acme/rules.clp" for one in read.defects)
    return [f"{one.line}:{one.column} {one.message}" for one in read.defects]


def test_what_rules_may_hold() -> None:
    text = """; a remark with (system "ls") in it
    (deftemplate acme.seen "of the pack's own" (slot node (type SYMBOL) (default none)) (slot words) (slot n (range 0 9)))
    (deffacts known (acme.seen (node a) (words "x y")))
    (deffunction twice (?x) (bind ?y (* ?x 2)) (return ?y))
    (deffunction four (?x) (twice (twice ?x)))
    (defrule one "with (words"
      (declare (salience -5))
      ?s <- (acme.seen (node ?n&:(neq ?n b)) (words ?w))
      (or (amount (value "5")) (not (acme.flag (why ?))))
      (test (and (numberp 1) (> (four 2) (str-length ?w))))
      =>
      (if (eq ?n a) then (modify ?s (n (four 1))) else (retract ?s))
      (assert (acme.flag (value (str-cat "a" ?n)) (why nothing))))
    """
    read = read_rules(text, "acme", "1.0", ("/governance/0", "f"), FIELDS, FACTS)
    assert not read.defects
    assert read.own == {"acme.seen": ("node", "words", "n")}
    assert set(read.pack.templates) == {"amount", "acme.flag"}
    assert [construct.split()[1] for construct in read.pack.constructs] == ["acme.seen", "known", "twice", "four", "one"]
    assert '(joined-text "a" ?n)' in read.pack.constructs[-1]
    assert read_rules("", "acme", "1.0", ("", ""), {}, {}).pack.constructs == ()


@pytest.mark.parametrize(
    "text",
    [
        '(system "rm -rf /")', '(open "/etc/passwd" f)', '(load "other.clp")', '(batch "x")', '(batch* "x")', '(eval "(exit)")',
        '(build "(defrule x =>)")', "(defglobal ?*x* = 1)", "(defmodule OTHER)", "(defclass A (is-a USER))", "(exit)", "(reset)",
        "(definstances x)", "(defgeneric x)", "(defmethod x ())",
    ],
)  # fmt: skip
def test_only_four_constructs_are_taken(text: str) -> None:
    (told,) = defects(f"\n  {text}")
    assert told.startswith("2:3 `") and told.endswith("is no construct of a pack")


@pytest.mark.parametrize(
    "call",
    [
        '(system "ls")', '(open "f" x "w")', '(printout t "x")', '(load-facts "f")', '(eval "(+ 1 1)")', '(build "x")', "(random)",
        "(time)", "(seed 1)", "(gensym)", "(while TRUE do (assert (acme.flag)))", "(loop-for-count 99 (assert (acme.flag)))",
        "(progn$ (?x (create$ 1 2)) (assert (acme.flag)))", "(create$ 1 2)", "(halt)", "(run)", "(undefrule x)", "(str-assert \"x\")",
        "(assert-string \"(x)\")", "(funcall system \"ls\")", "(get-environment-variable \"HOME\")", "(read)", "(readline)", "(x)",
        "(format nil \"%9999999d\" 1)",
        "(sym-cat a b)", "(expand$ x)", "(foreach ?x $?y (x))", "(\x22system\x22 1)",
    ],
)  # fmt: skip
def test_no_function_reaches_out_or_loops(call: str) -> None:
    for text in (
        f"(defrule x (node-id) => {call})",
        f"(defrule x (node-id) => (assert (acme.flag (value {call}))))",
        f"(defrule x (node-id (id ?v&:{call})) => )",
        f"(defrule x (test {call}) => )",
        f"(deffunction f (?x) {call})",
        f"(deffacts f (acme.flag (value {call})))",
        f"(deftemplate own (slot s (default {call})))",
    ):
        assert defects(text), text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("(defrule x (nothing) => )", "1:12 there are no facts `nothing`"),
        ("(defrule x (amount (valu 1)) => )", "1:20 facts `amount` have no slot `valu`"),
        ("(defrule x (amount) => (assert (amount (value 1))))", "1:32 a pack cannot assert `amount`: it is told by the run"),
        ("(defrule x (amount) => (assert (node-id (id b))))", "1:32 a pack cannot assert `node-id`: it is told by the run"),
        ("(defrule x (amount) => (assert (acme.flag (valu 1))))", "1:43 facts `acme.flag` have no slot `valu`"),
        ("(defrule x (amount) => (assert acme.flag))", "1:32 `(assert …)` holds facts in parentheses"),
        ("(defrule x ?a <- (amount) => (modify ?a (value 1)))", "1:30 " + CHANGES),
        ("(defrule x (amount) => (modify ?a (value 1)))", "1:24 " + CHANGES),
        ("(deftemplate bosun.violation (slot kind))", "1:14 every run has facts `bosun.violation`"),
        ("(deftemplate a (field x))", "1:16 a template holds slots of one value"),
        ("(deftemplate a (multislot x))", "1:16 a template holds slots of one value"),
        ("(deftemplate a (slot x (default-dynamic (gensym))))", "1:24 a slot has no such attribute"),
        ("(deffunction f (?x) (f ?x))", "1:21 `f` cannot be called in a rule"),
        ("(deffunction eq (?x) ?x)", "1:14 the function `eq` is there already"),
        ("(defrule x (amount) =>) (defrule x (amount) => )", "1:34 `x` is there twice"),
        ("(defrule x (amount))", "1:10 the rule `x` has no `=>`"),
        ("(defrule MAIN::x (amount) =>)", "1:1 `(defrule …)` begins with a name"),
        ("(defrule x (declare (auto-focus TRUE)) (amount) =>)",
         "1:12 only `(declare (salience n))` can be declared, n from -10000 to 10000"),
        ("(defrule x (amount) => (assert (acme.flag (value \"x)))", "1:50 a text is not closed"),
        ("(defrule x (amount) => ", "1:1 a `(` is not closed"),
        ("rules", "1:1 `rules` is no construct of a pack"),
        ("(defrule x (amount)\x00 => )", "1:20 rules hold no control characters, and no blanks beside space, tab and line break"),
        ("(defrule x (amount)\u00a0=> )", "1:20 rules hold no control characters, and no blanks beside space, tab and line break"),
        ("(defrule x " + "(amount)" * 13 + " => )", "1:10 the rule `x` has too many conditions"),
        ("(defrule x (amount) => )" * 501, "1:1 too many constructs"),
        (";" * (MAX_RULES_BYTES + 1), f"1:1 rules have at most {MAX_RULES_BYTES:,} bytes"),
        ("(" * 40 + ")" * 40, "1:33 nested deeper than 32 levels"),
    ],
)  # fmt: skip
def test_a_defect_is_told_with_its_place(text: str, told: str) -> None:
    assert defects(text)[0] == told


def test_functions_cannot_grow_beyond_measure() -> None:
    """Each calls the one before twice: without a bound the thirtieth would make a thousand million calls."""
    functions = ["(deffunction f0 (?x) (+ ?x 1))"] + [
        f"(deffunction f{number} (?x) (+ (f{number - 1} ?x) (f{number - 1} ?x)))" for number in range(1, 30)
    ]
    assert any("makes too many calls" in told for told in defects("\n".join(functions)))


WORDS = st.sampled_from(
    ["(", ")", "defrule", "deftemplate", "deffunction", "deffacts", "x", "?x", "$?y", "<-", "=>", "amount", "acme.flag", "slot", "value",
     "assert", "modify", "retract", "if", "then", "bind", "str-cat", "system", "not", "test", "node-id", "declare", "salience", "9", '"t"',
     "&", "~", ":", ";", "\n", " ", '"', "\\", "\u00e9"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=60).map(" ".join))
def test_any_text_is_read_or_told(text: str) -> None:
    """And what is taken holds nothing that reaches out."""
    read = read_rules(text, "acme", "1.0", ("/governance/0", "f"), FIELDS, FACTS)
    assert read.defects or "system" not in text.split() or ";" in text
