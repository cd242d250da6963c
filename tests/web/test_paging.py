"""Reading pages from a query, placing a page in a list, and going on after a cursor."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.web.paging import Page, pages, parse_limit, parse_page, read_cursor, write_cursor


def test_defaults_and_given_values() -> None:
    assert parse_page({}) == Page(1, 50)
    assert parse_page({"page": "3", "perPage": "20"}) == Page(3, 20)
    assert parse_page({"page": "", "limit": "7"}, names=("page", "limit")) == Page(1, 7)
    assert Page(3, 20).offset == 40


def test_a_cap_is_silent_a_limit_is_not() -> None:
    assert parse_page({"perPage": "1000"}, cap=200).size == 200
    with pytest.raises(Invalid, match="perPage must be a whole number from 1 to 1,000"):
        parse_page({"perPage": "1001"}, cap=200)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "1e3", "٣", "9" * 400, "0x10"])
def test_wrong_numbers_are_all_named(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_page({"page": text, "perPage": text})
    assert [problem.path for problem in caught.value.problems] == ["page", "perPage"]
    with pytest.raises(Invalid):
        parse_limit({"limit": text}, default=10, most=100)


def test_a_single_limit() -> None:
    assert parse_limit({}, default=10, most=100) == 10
    assert parse_limit({"limit": "100"}, default=10, most=100) == 100


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 300))
def test_pages_cover_the_list_once(number: int, size: int, total: int) -> None:
    placed = pages(Page(number, size), total)
    assert placed.last >= 1
    assert (placed.last - 1) * size < max(total, 1) <= placed.last * size
    assert placed.previous is None if number == 1 else 1 <= placed.previous <= placed.last  # type: ignore[operator]
    assert (placed.next is None) == (number >= placed.last)


@given(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_a_cursor_gives_back_what_was_written(at: int, id_: str) -> None:
    text = write_cursor("runs", at, id_)
    assert read_cursor(text, "runs", int, str) == (at, id_)
    assert text.isascii() and text.replace("-", "").replace("_", "").isalnum()


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "%%", "ü", "bm8", "a\nb", "\0", encoded("no"), encoded("[]"), encoded("{}"), encoded('["runs"]'),
        encoded('["runs", 1]'), encoded('["runs", "a", 1]'), encoded('["runs", 1, 2]'), encoded('["runs", true, "a"]'),
        encoded('["runs", 1, "a", "b"]'), encoded('["runs", 1.5, "a"]'), encoded(f'["runs", {2**63}, "a"]'),
        encoded(f'["runs", {"9" * 400}, "a"]'), encoded('["runs", 1, "a\\u0000"]'), encoded('["runs", 1, "\\ud800"]'),
        write_cursor("builds", 1, "a"), write_cursor("runs", 1, "a") + "!", encoded("[" * 5000),
    ],
)  # fmt: skip
def test_what_no_page_gave_is_no_cursor(text: str) -> None:
    with pytest.raises(Invalid, match="cursor must be the cursor that an earlier page") as caught:
        read_cursor(text, "runs", int, str)
    assert [problem.path for problem in caught.value.problems] == ["query.cursor"]


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read_cursor(text, "runs", int, str)
