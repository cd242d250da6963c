"""Cursors of a stream."""

from __future__ import annotations

import pytest

from astrarium.errors import Invalid
from astrarium.surfaces.graphs.work.bucket import Buckets, Forked
from astrarium.surfaces.graphs.work.chunk import Places
from astrarium.surfaces.graphs.work.stream import Cursor, parse_cursor


@pytest.mark.parametrize(("text", "cursor"), [
    ("", Cursor()),
    ("abc.4.0,0,7", Cursor("abc.4.0", 7)),
    (" abc.4.0 , 0 , 7 ", Cursor("abc.4.0", 7)),
    (",0,7", Cursor("", 7)),
    ("run:x:3:1", Cursor(step=3, within=1)),
    ("abc.4.0", Cursor("abc.4.0")),
    ("abc.c9~4-120,120,9", Cursor("abc.c9~4-120", 9, chunk=True)),
    ("abc.c-1~4-120", Cursor("abc.c-1~4-120", -1, chunk=True)),
])  # fmt: skip
def test_three_forms_are_read(text: str, cursor: Cursor) -> None:
    assert parse_cursor(text, "run:x") == cursor
    assert cursor.given == bool(text)


@pytest.mark.parametrize("text", ["x", "a,b", "a,1,x", "a,1", "run:x:y:1", "run:x:1:", "1,2,99999999999999999999"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="malformed last_event_id"):
        parse_cursor(text, "run:x")


def test_a_cursor_of_another_run() -> None:
    with pytest.raises(Invalid, match="last_event_id run_id mismatch: cursor='other' path='run:x'"):
        parse_cursor("other:1:0", "run:x")


def test_places_of_open_files() -> None:
    assert Places.parse("abc.c9~4-120_8-0").told == {4: 120, 8: 0}
    assert Places.parse("abc.4.0").told == {}


def test_a_bucket_fills_up_again() -> None:
    now = 100.0
    buckets = Buckets(10, lambda: now)
    for _ in range(10):
        buckets.take("a")
    with pytest.raises(Forked) as refused:
        buckets.take("a")
    assert refused.value.retry_after_s == 6
    buckets.take("b")
    now += 6.0
    buckets.take("a")
    with pytest.raises(Forked):
        buckets.take("a")
