import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.spec import source
from astrarium.spec.source import Report, read_documents


def read(text: str):
    report = Report("f.yaml")
    return [node.plain() for node in read_documents(text, report)], report.finished()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("~", None),
        ("", None),
        ("0x10", 16),
        ("0o17", 15),
        ("017", 17),
        ("-3", -3),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        (".", "."),
        ("-", [None]),
        ("'5'", "5"),
        ('"true"', "true"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    documents, problems = read(f"- {text}\n" if text != "-" else "- - \n")
    assert not problems
    assert documents == [[value]]


def test_several_documents_anchors_and_merges():
    documents, problems = read("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 9}\n---\nc: 3\n")
    assert not problems
    assert documents == [{"a": {"x": 1, "y": 2}, "b": {"x": 9, "y": 2}}, {"c": 3}]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nb: [x\n", 3, 1, "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key `a`, first given in line 1"),
        ("? [x]\n: 1\n", 1, 3, "a key must be plain text"),
        ("a: &a [1, *a]\n", 1, 11, "inside what it names"),
        ("a: *z\n", 1, 4, "unknown alias `*z`"),
        ("a: 1\nb: \x07\n", 2, 0, "not valid YAML"),
        ("[" * 100000, 1, source.MAX_DEPTH + 1, "nested deeper"),
        ("- " * 5000, 1, 2 * source.MAX_DEPTH + 1, "nested deeper"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, line, column, words):
    _, problems = read(text)
    assert words in problems[0].message
    assert (problems[0].line, problems[0].column) == (line, column)
    assert problems[0].file == "f.yaml"


def test_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    _, problems = read("\n".join(lines))
    assert "aliases are expanded" in problems[-1].message


def test_problems_are_bounded():
    report = Report("f")
    for number in range(source.MAX_PROBLEMS + 5):
        report.add_at("bad", number, 1)
    found = report.finished()
    assert len(found) == source.MAX_PROBLEMS + 1
    assert "5 more" in found[-1].message


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*<>|'\"\n \t#!%@`,?0"), max_size=60))
def test_no_text_makes_it_raise(text):
    read(text)
