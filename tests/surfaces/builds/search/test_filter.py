"""What a filter says, and what it is told when it cannot be understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.surfaces.builds.search.filter import MOST_CONDITIONS, OPERATORS, Condition, parse_filter


@pytest.mark.parametrize(
    ("text", "key", "operator", "value"),
    [
        ("task_name:Train", "task_name", "=", "Train"),
        ("task_name:~:rai", "task_name", "~", "rai"),
        ("task_name:!=:Train", "task_name", "!=", "Train"),
        ("param.lr:0.1", "param.lr", "=", "0.1"),
        ("param.tags[0].k:=:1", "param.tags[0].k", "=", "1"),
        ("param.url:=:s3://bucket/key", "param.url", "=", "s3://bucket/key"),
        ("param.url:s3://bucket", "param.url", "=", "s3://bucket"),
        (r"param.note:a\,b", "param.note", "=", "a,b"),
        ("param.a'b:=:1", "param.a'b", "=", "1"),
        ("asset.metrics.acc:x", "asset.metrics.acc", "=", "x"),
    ],
)
def test_one_condition(text: str, key: str, operator: str, value: str) -> None:
    assert parse_filter(text).conditions == (Condition(key, operator, value),)  # type: ignore[arg-type]


def test_all_conditions_are_read_in_order() -> None:
    asked = parse_filter(" task_name:Train , param.lr:>:0.05,created_at:>=:2026-01-01 ")
    assert [(one.key, one.operator) for one in asked.conditions] == [("task_name", "="), ("param.lr", ">"), ("created_at", ">=")]
    assert asked.conditions[1].number == 0.05
    assert asked.conditions[2].at == 1_767_225_600_000_000
    assert asked.ignored == ()


@pytest.mark.parametrize("text", ["bogus:=:1", "task_name", "task_name:", "param.:=:1", "asset.metrics:=:1", "::", ","])
def test_what_cannot_be_understood_is_named_and_ignored(text: str) -> None:
    asked = parse_filter(text)
    assert asked.conditions == ()
    assert asked.ignored == tuple(part.strip() for part in text.split(","))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("param.lr:>:abc", "compares numbers"),
        ("param.lr:<:nan", "compares numbers"),
        ("status:>:running", "has no order"),
        ("created_at:>:yesterday", "2026-11-22T08:00:00Z"),
    ],
)
def test_a_value_that_cannot_be_compared_is_refused(text: str, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        parse_filter(text)


def test_times_without_offset_are_utc_and_offsets_count() -> None:
    plain, zulu, east = parse_filter(
        "created_at:>:2026-01-01T00:00:00,created_at:>:2026-01-01T00:00:00Z,created_at:>:2026-01-01T01:00:00+01:00"
    ).conditions
    assert plain.at == zulu.at == east.at


def test_a_filter_has_a_limit() -> None:
    parse_filter(",".join(["task_name:a"] * MOST_CONDITIONS))
    with pytest.raises(Invalid, match="at most"):
        parse_filter(",".join(["task_name:a"] * (MOST_CONDITIONS + 1)))


@given(st.text(max_size=60))
def test_any_text_is_understood_ignored_or_refused(text: str) -> None:
    try:
        asked = parse_filter(text)
    except Invalid:
        return
    assert all(one.operator in OPERATORS and one.value for one in asked.conditions)
