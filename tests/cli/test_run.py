"""Words of a command line become parameters of the dialect."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.cli.run import join_params
from astrarium.spec.params import parse_overrides


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], ""),
        (["NAME=you"], "NAME=you"),
        (["first", "N=2"], "first N=2"),
        (["NAME=two words"], 'NAME="two words"'),
        (["two words"], '"two words"'),
        (['NAME=say "hi"'], 'NAME="say \\"hi\\""'),
        (["NAME="], 'NAME=""'),
        (['{"NAME": "you"}'], '{"NAME": "you"}'),
    ],
)
def test_words_are_joined(words: list[str], text: str) -> None:
    assert join_params(words) == text


@given(
    st.dictionaries(
        st.text(string.ascii_uppercase, min_size=1, max_size=8), st.text(string.ascii_letters + " \t='-_/.", max_size=20)
    )
)
def test_values_come_through_as_they_are(values: dict[str, str]) -> None:
    words = [f"{name}={value}" for name, value in values.items()]
    assert {param.name: param.text for param in parse_overrides(join_params(words))} == values
