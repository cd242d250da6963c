"""The typed reader: keys in any case, what does not fit is told with its place, and reading goes on."""

from __future__ import annotations

import pytest

from astrarium.spec.dag_yaml.fields import MAX_WHOLE, Fields, known, scalar_text, whole_number
from astrarium.spec.source import Report, read_documents

KEYS = known("count", "word", "flag", "list", "part", old="word")


def fields(text: str) -> tuple[Fields, Report]:
    report = Report("f.yaml")
    return Fields(read_documents(text, report)[0], "", report, KEYS), report


def said(report: Report) -> list[tuple[int, int, str, str]]:
    return [(problem.line, problem.column, problem.path, problem.message) for problem in report.finished()]


def test_keys_match_in_any_case_and_by_their_old_names() -> None:
    read, report = fields("COUNT: 3\nOld: w\n")
    assert (read.whole("count"), read.text("word"), said(report)) == (3, "w", [])


def test_the_same_field_twice_is_told_once_under_either_name() -> None:
    _, report = fields("word: a\nold: b\n")
    assert said(report) == [(2, 1, "old", "`old` gives the field `word` a second time")]


def test_unknown_keys_come_with_the_nearest_known_one() -> None:
    _, report = fields("cuont: 1\nzzz: 2\n")
    assert said(report) == [
        (1, 1, "cuont", "unknown key `cuont`, did you mean `count`?"),
        (2, 1, "zzz", "unknown key `zzz`"),
    ]


def test_null_is_as_if_missing() -> None:
    read, report = fields("count:\nword: ~\nflag: null\nlist:\npart:\n")
    assert (read.whole("count", 7), read.text("word", "d"), read.flag("flag", True)) == (7, "d", True)
    assert (read.texts("list"), read.sub("part", None), said(report)) == ((), None, [])


@pytest.mark.parametrize(
    ("value", "number"), [("5", 5), ("'5'", 5), ("' 5 '", 5), (str(MAX_WHOLE), MAX_WHOLE), ("0x10", 16), ("0", 0)]
)
def test_whole_numbers_may_be_text(value: str, number: int) -> None:
    read, report = fields(f"count: {value}\n")
    assert (read.whole("count", 9), said(report)) == (number, [])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-1", "`count` must be a whole number of at least 0"),
        ("1.5", "`count` must be a whole number of at least 0"),
        ("'5-'", "`count` must be a whole number of at least 0"),
        ("true", "`count` must be a whole number of at least 0"),
        ("[1]", "`count` must be a whole number of at least 0"),
        ("'²'", "`count` must be a whole number of at least 0"),
        (str(MAX_WHOLE + 1), "`count` must be at most 10,000,000,000"),
    ],
)
def test_what_is_no_whole_number_is_told_and_the_default_used(value: str, message: str) -> None:
    read, report = fields(f"count: {value}\n")
    assert (read.whole("count", 9), said(report)) == (9, [(1, 8, "count", message)])


@pytest.mark.parametrize(("value", "answer"), [("$N", "$N"), ("'`echo 3`'", "`echo 3`"), ("4", 4), ("'4'", 4)])
def test_a_number_may_be_a_template(value: str, answer: int | str) -> None:
    read, report = fields(f"count: {value}\n")
    assert (read.number_or_template("count"), said(report)) == (answer, [])


@pytest.mark.parametrize("value", ["-2", "many", "[$N]", "2.5"])
def test_neither_number_nor_template(value: str) -> None:
    read, report = fields(f"count: {value}\n")
    message = "`count` must be a whole number of at least 0, or text with a variable"
    assert (read.number_or_template("count", 1), said(report)) == (1, [(1, 8, "count", message)])


def test_flags_are_booleans_only() -> None:
    read, report = fields("flag: yes\n")
    assert read.flag("flag") is False
    assert said(report) == [(1, 7, "flag", "`flag` must be true or false")]


def test_lists_keep_what_fits() -> None:
    read, report = fields("list: [1, [2], x]\npart: {a: 1}\n")
    assert read.texts("list") == ("1", "x")
    assert read.wholes("list") == (1,)
    assert read.texts("part") == ()
    assert said(report) == [
        (1, 7, "list", "`list` must be text or a list of texts"),
        (1, 7, "list", "`list` must be a whole number or a list of them"),
        (1, 16, "list", "`list` must hold whole numbers only, not `x`"),
        (2, 7, "part", "`part` must be text or a list of texts"),
    ]


def test_a_choice_names_what_is_allowed() -> None:
    read, report = fields("word: mergd\n")
    assert read.choice("word", ("separate", "merged"), "separate") == "separate"
    expected = "`word` must be one of separate, merged, not `mergd`, did you mean `merged`?"
    assert said(report) == [(1, 7, "word", expected)]


@pytest.mark.parametrize(
    ("text", "meant"), [("TRUE", "true"), ("False", "false"), ("~", ""), ("1.50", "1.50"), ("'x y'", "x y"), ("0x10", "0x10")]
)
def test_scalars_as_texts(text: str, meant: str) -> None:
    assert scalar_text(read_documents(text, Report("f"))[0]) == meant


def test_booleans_and_lists_are_no_numbers() -> None:
    assert [whole_number(node) for node in read_documents("[true, [1], 3]", Report("f"))[0].items] == [None, None, 3]
