"""Redaction: every form of a secret, wherever the stream is cut."""

from __future__ import annotations

import base64
import textwrap
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.runs.work.redact import MASK, Redactor, redact


def in_pieces(data: bytes, size: int, values: list[str]) -> bytes:
    redactor = Redactor(values)
    pieces = [redactor.feed(data[i : i + size]) for i in range(0, len(data), size)]
    return b"".join([*pieces, redactor.flush()])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_plain_base64_and_url_forms_go_at_every_cut(size: int) -> None:
    secret = "p@ss/word é+1"
    encoded = base64.b64encode(f"user:{secret}".encode()).decode()
    said = f"a {secret} b {quote(secret)} c {quote(secret, safe='')} d {encoded} e".encode()
    out = in_pieces(said, size, [secret]).decode()
    assert out.count(MASK) == 4
    assert secret not in out and quote(secret) not in out and quote(secret, safe="") not in out
    assert base64.b64encode(secret.encode())[3:-4].decode() not in out
    assert out.startswith("a ") and out.endswith(" e")


@pytest.mark.parametrize("shift", range(6))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_at_each_alignment(shift: int, encode) -> None:
    secret = "correct-horse-battery"
    text = encode(b"x" * shift + secret.encode() + b"tail").decode()
    assert MASK in redact(text, [secret])


def test_base64_broken_over_lines_is_found() -> None:
    secret = "".join(chr(33 + i % 90) for i in range(200))
    text = "\n".join(textwrap.wrap(base64.b64encode(secret.encode()).decode(), 76))
    out = in_pieces(text.encode(), 5, [secret])
    assert MASK.encode() in out
    assert len(out) < 20


def test_a_secret_of_several_lines_is_masked_as_it_stands_and_in_json() -> None:
    secret = "line one\nline two"
    assert redact(f"<{secret}>", [secret]) == f"<{MASK}>"
    assert redact('{"k": "line one\\nline two"}', [secret]) == f'{{"k": "{MASK}"}}'


def test_only_a_possible_beginning_is_kept_back() -> None:
    redactor = Redactor(["secret"])
    assert redactor.feed(b"hello\n") == b"hello\n"
    assert redactor.feed(b"say sec") == b"say "
    assert redactor.feed(b"ond\n") == b"second\n"
    assert redactor.feed(b"sec") == b""
    assert redactor.flush() == b"sec"


def test_the_longer_of_two_secrets_wins_across_a_cut() -> None:
    redactor = Redactor(["abc", "abcdef"])
    assert redactor.feed(b"abc") == b""
    assert redactor.feed(b"def!") == MASK.encode() + b"!"


def test_empty_values_change_nothing() -> None:
    assert redact("text", ["", "  "]) == "text"
    assert redact("text", []) == "text"


@given(
    st.lists(st.text("abc/+=\n", min_size=1, max_size=9), max_size=3),
    st.text("abc/+=\nYWJj", max_size=60),
    st.integers(1, 9),
)
def test_the_result_does_not_depend_on_the_cuts(values: list[str], text: str, size: int) -> None:
    whole = in_pieces(text.encode(), 10_000, values)
    assert in_pieces(text.encode(), size, values) == whole
    for value in values:
        if value.strip():
            assert value.encode() not in whole.replace(MASK.encode(), b"|")
