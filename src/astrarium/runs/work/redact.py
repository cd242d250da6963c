"""Declared secrets never leave a try: their plain, base64 and URL forms are replaced before bytes reach a file or an event.

Dagu 1.30 masks a secret as `*******` in logs and outputs; the encoded forms are ours, because `curl -u user:$TOKEN` or a
query string prints exactly those.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "*******"

_WRAPPED_FROM = 57
"""`base64` breaks its output every 76 characters: a form of a value this long (bytes) is also matched across line breaks."""
_NEWLINES = b"\r\n"


def _base64_forms(value: bytes) -> set[bytes]:
    """The value alone, and the part that stays the same wherever it stands inside a longer encoded text (three alignments)."""
    if len(value) < 3:
        return set()
    forms = {base64.b64encode(value).rstrip(b"=")}
    if len(value) >= 6:
        for shift in range(3):
            whole = base64.b64encode(b"\0" * shift + value)
            first = -(-shift * 8 // 6)
            last = (shift + len(value)) * 8 // 6
            forms.add(whole[first:last])
    return forms | {form.translate(bytes.maketrans(b"+/", b"-_")) for form in forms}


def _forms(value: str) -> tuple[set[bytes], set[bytes]]:
    """(literal forms, base64 forms that may be broken over lines) of one value."""
    plain = value.encode()
    literal = {plain, quote(value, safe="").encode(), quote(value).encode(), quote_plus(value).encode()}
    literal |= {re.sub(rb"%[0-9A-F]{2}", lambda match: match.group().lower(), form) for form in literal if b"%" in form}
    literal.add(json.dumps(value)[1:-1].encode())
    encoded = _base64_forms(plain)
    if len(plain) < _WRAPPED_FROM:
        return literal | encoded, set()
    return literal, encoded


class Redactor:
    """Masks secrets in a stream of bytes. What `feed` gives does not depend on where the stream was cut into chunks;
    only a tail that may be the beginning of a secret is kept back, so a log stays live."""

    def __init__(self, values: Iterable[str]) -> None:
        literal: set[bytes] = set()
        wrapped: set[bytes] = set()
        for value in values:
            if value.strip():
                more, longer = _forms(value)
                literal |= more
                wrapped |= longer
        self._literal = sorted(literal, key=len, reverse=True)
        self._wrapped = sorted(wrapped, key=len, reverse=True)
        self._first = {form[:1] for form in (*literal, *wrapped)}
        self._reach = max([len(form) for form in literal] + [3 * len(form) for form in wrapped], default=1) - 1
        patterns = [rb"(?:\r?\n)?".join(re.escape(form[i : i + 1]) for i in range(len(form))) for form in self._wrapped]
        patterns += [re.escape(form) for form in self._literal]
        self._pattern = re.compile(b"|".join(patterns)) if patterns else None
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """The part of what came so far that is safe to pass on."""
        if self._pattern is None:
            return data
        return self._pass_on(self._kept + data, final=False)

    def flush(self) -> bytes:
        """The rest, at the end of the stream."""
        if self._pattern is None:
            return b""
        return self._pass_on(self._kept, final=True)

    def _pass_on(self, text: bytes, *, final: bool) -> bytes:
        hold = len(text) if final else self._hold(text, 0)
        if not self._suspicious(text):
            self._kept = text[hold:]
            return text[:hold]
        assert self._pattern is not None
        parts: list[bytes] = []
        done = 0
        for match in self._pattern.finditer(text):
            if match.start() >= hold:
                break
            parts += (text[done : match.start()], MASK.encode())
            done = match.end()
        if done > hold:
            hold = len(text) if final else self._hold(text, done)
        parts.append(text[done:hold])
        self._kept = text[hold:]
        return b"".join(parts)

    def _suspicious(self, text: bytes) -> bool:
        """A quick look (plain substring search) that spares clean chunks the pattern."""
        if any(form in text for form in self._literal):
            return True
        if not self._wrapped:
            return False
        joined = text.translate(None, _NEWLINES)
        return any(form in joined for form in self._wrapped)

    def _hold(self, text: bytes, done: int) -> int:
        """Where the earliest tail begins that further bytes could turn into a secret."""
        for start in range(max(done, len(text) - self._reach), len(text)):
            if text[start : start + 1] in self._first and self._opens(text[start:]):
                return start
        return len(text)

    def _opens(self, tail: bytes) -> bool:
        if any(len(form) > len(tail) and form.startswith(tail) for form in self._literal):
            return True
        if not self._wrapped:
            return False
        joined = tail.translate(None, _NEWLINES)
        return any(len(form) > len(joined) and form.startswith(joined) for form in self._wrapped)


def redact(text: str, values: Iterable[str]) -> str:
    """`text` without the secrets: for outputs, errors and events."""
    redactor = Redactor(values)
    data = text.encode("utf-8", "surrogateescape")
    return (redactor.feed(data) + redactor.flush()).decode("utf-8", "surrogateescape")
