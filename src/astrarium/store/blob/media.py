"""Kinds of content: what a content type may look like, which are taken, and a look at the beginning of some bytes."""

from __future__ import annotations

import codecs
import mimetypes
import re
from collections.abc import Sequence
from typing import NamedTuple

from ...errors import Invalid, Problem

OCTETS = "application/octet-stream"
MOST_CHARACTERS = 255
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,127}"
_TYPE = re.compile(rf'({_TOKEN})/({_TOKEN})((?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|"[^"\\\x00-\x1f\x7f]*"))*)', re.ASCII)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r\f\b\x1b")
"""Bytes that text does not hold; escapes of terminals are text."""


def check_type(content_type: str, allowed: Sequence[str] = ()) -> str:
    """A content type as it may be told, small and without blanks around it. Raises `Invalid` when it is none, or none of `allowed`
    (`image/*`, `text/csv`; empty = all are)."""
    found = _TYPE.fullmatch(content_type.strip())
    if found is None or len(content_type) > MOST_CHARACTERS:
        raise _refused(f"{content_type[:80]!r} is no content type", "write one like text/plain or application/json")
    kind, sub = found[1].lower(), found[2].lower()
    if allowed and not any(one.lower() in ("*/*", f"{kind}/*", f"{kind}/{sub}") for one in allowed):
        raise _refused(f"content of type {kind}/{sub} is not taken here", "the setting artifact_types allows more")
    return f"{kind}/{sub}{found[3]}"


def _refused(told: str, hint: str) -> Invalid:
    return Invalid(told, [Problem(told, path="content_type")], hint=hint)


def type_of(name: str) -> str:
    """The content type a file's name tells."""
    kind, encoding = mimetypes.guess_type(name, strict=False)
    return OCTETS if kind is None or encoding else kind


class Preview(NamedTuple):
    """The beginning of some content: `text` as people read it, in the `charset` it was found to be in; binary content has neither.
    `truncated`: there is more than is shown. `size` is of the whole, in bytes."""

    text: str
    charset: str
    binary: bool
    truncated: bool
    size: int


def preview_of(data: bytes, size: int) -> Preview:
    """A look at the first bytes of content that has `size` bytes in all. What is no text is told to be binary and not shown."""
    truncated = len(data) < size
    for mark, charset in _BOMS:
        if data.startswith(mark) and (text := _decoded(data[len(mark) :], charset, truncated)) is not None:
            return Preview(text, charset, False, truncated, size)
    if not _CONTROLS.isdisjoint(data):
        return Preview("", "", True, truncated, size)
    text = _decoded(data, "utf-8", truncated)
    if text is not None:
        return Preview(text, "utf-8", False, truncated, size)
    return Preview(data.decode("cp1252", "replace"), "windows-1252", False, truncated, size)


def _decoded(data: bytes, charset: str, truncated: bool) -> str | None:
    """The text, without a last sign that was cut in two; None when it is not in this charset."""
    try:
        return codecs.getincrementaldecoder(charset)("strict").decode(data, final=not truncated)
    except UnicodeDecodeError:
        return None
