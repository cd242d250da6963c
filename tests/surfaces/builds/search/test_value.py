"""The scalars of a document, each under its path."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from astrarium.surfaces.builds.search.value import MOST_DEPTH, MOST_TEXT_CHARS, MOST_VALUES, Value, values_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


def test_scalars_stand_under_their_paths() -> None:
    document = {"lr": 0.1, "on": True, "none": None, "m": {"d": 2}, "tags": [{"k": "v"}, "x"], "n": "1e3", "deep": [[3]]}
    assert values_of(document) == [
        Value("lr", "0.1", 0.1, "number"),
        Value("on", "true", None, "boolean"),
        Value("m.d", "2", 2.0, "number"),
        Value("tags[0].k", "v", None, "string"),
        Value("tags[1]", "x", None, "string"),
        Value("n", "1e3", 1000.0, "string"),
        Value("deep[0][0]", "3", 3.0, "number"),
    ]


def test_there_are_limits() -> None:
    assert len(values_of({"many": list(range(1000))})) == MOST_VALUES
    assert values_of({"long": "x" * 1000})[0].text == "x" * MOST_TEXT_CHARS
    nested: Any = 1
    for _ in range(MOST_DEPTH + 5):
        nested = {"a": nested}
    assert values_of(nested) == []


@given(JSON)
def test_any_document_has_values(document: Any) -> None:
    for value in values_of(document):
        assert value.path
        msgspec.json.encode(value)
