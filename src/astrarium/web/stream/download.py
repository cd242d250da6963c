"""Downloads: bytes of any kind to a client, whole or in the ranges it asks for, as RFC 9110 has it, and in such a way that a browser
that shows them runs nothing in them.

Nothing is held in memory but the piece that is being sent. The content's hash is its `ETag`, so a client that has it is told so, and
one that had a part of it continues.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Open = Callable[[int, int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""(first byte, how many) → the bytes. What entering raises is answered as an error."""

MOST_RANGES = 32
"""A request for more pieces than this, after those that touch were joined, is answered with the whole."""
SHOWN = frozenset(
    "text/plain text/csv text/markdown application/json image/png image/jpeg image/gif image/webp image/avif image/bmp audio/mpeg audio/ogg"
    " audio/wav audio/flac video/mp4 video/webm video/ogg".split()
)
"""What a browser may show in place: none of it can run anything. All else is for saving, whatever was asked for."""
POLICY = "default-src 'none'; sandbox"
_RANGE = re.compile(r"(\d*)-(\d*)", re.ASCII)
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_MEDIA = re.compile(r"[\x21-\x3a\x3c-\x7e]+/[\x21-\x3a\x3c-\x7e]+(?:;[\x20-\x7e]*)?")
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)
MOST_NAME = 200


class Part(NamedTuple):
    """A range of bytes, both ends included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


class Content(NamedTuple):
    """What is there to be sent. `tag` is its hash: other bytes have another. `name` is what a client may save it as."""

    open: Open
    size: int
    tag: str
    content_type: str
    name: str


def download(request: Request, content: Content, *, inline: bool = False) -> Response:
    """The answer to a GET or HEAD. `inline` asks a browser to show it, where that is harmless."""
    etag = f'"{content.tag}"'
    headers = {"etag": etag, "cache-control": "private, no-cache", "accept-ranges": "bytes"}
    if (if_match := request.headers.get("if-match")) and not _matches(if_match, etag, weak=False):
        return Response(status_code=412, headers=headers)
    if (if_none_match := request.headers.get("if-none-match")) and _matches(if_none_match, etag, weak=True):
        return Response(status_code=304, headers=headers)
    kind = content.content_type if _MEDIA.fullmatch(content.content_type) else "application/octet-stream"
    shown = inline and kind.partition(";")[0].strip().lower() in SHOWN
    headers |= {
        "content-type": kind,
        "content-disposition": disposition(content.name, inline=shown),
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "content-encoding": "identity",  # a compressed answer would be another representation, under the same tag
    }
    parts = None
    if request.method == "GET" and _range_counts(request.headers.get("if-range", ""), etag):
        parts = parse_ranges(request.headers.get("range", ""), content.size)
    if parts is None:
        return _Sending(200, headers | {"content-length": str(content.size)}, content, [(b"", Part(0, content.size - 1))])
    if not parts:
        return Response(
            status_code=416, headers=headers | {"content-range": f"bytes */{content.size}", "content-type": "text/plain"}
        )
    if len(parts) == 1:
        one = {"content-range": _content_range(parts[0], content.size), "content-length": str(parts[0].length)}
        return _Sending(206, headers | one, content, [(b"", parts[0])])
    return _several(headers, content, parts)


def _several(headers: Mapping[str, str], content: Content, parts: Sequence[Part]) -> Response:
    boundary = secrets.token_hex(16)
    pieces = []
    for number, part in enumerate(parts):
        head = (
            f"{'' if number == 0 else chr(13) + chr(10)}--{boundary}\r\nContent-Type: {headers['content-type']}\r\n"
            f"Content-Range: {_content_range(part, content.size)}\r\n\r\n"
        )
        pieces.append((head.encode("latin-1"), part))
    end = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(head) + part.length for head, part in pieces) + len(end)
    own = {"content-type": f"multipart/byteranges; boundary={boundary}", "content-length": str(length)}
    return _Sending(206, {**headers, **own}, content, pieces, end)


class _Sending(Response):
    """Pieces of the content, each after some bytes of ours."""

    def __init__(
        self, status: int, headers: Mapping[str, str], content: Content, pieces: Sequence[tuple[bytes, Part]], end: bytes = b""
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self._content = content
        self._pieces = pieces
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = scope["method"] == "HEAD"
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if begun:
            await send(start)
        for head, part in () if begun else self._pieces:
            async with AsyncExitStack() as held:
                chunks = await held.enter_async_context(self._content.open(part.first, part.length)) if part.length else None
                if not begun:  # only now: what cannot be opened is answered as an error
                    begun = True
                    await send(start)
                if head:
                    await send({"type": "http.response.body", "body": head, "more_body": True})
                if chunks is not None:
                    async for chunk in chunks:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self._end, "more_body": False})


def parse_ranges(value: str, size: int) -> list[Part] | None:
    """The ranges a request asks for, those that overlap or touch joined, in the order asked for (RFC 9110 §14). None: the whole is to be
    sent (no range, another unit, one that cannot be read, too many); an empty list: there is nothing where it asks."""
    unit, equals, listed = value.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    wanted: list[Part] = []
    found = False
    for text in listed.split(","):
        text = text.strip(" \t")
        if not text:
            continue
        match = _RANGE.fullmatch(text)
        if match is None or text == "-" or len(text) > 40:
            return None
        found = True
        first, last = match[1], match[2]
        if first and last and int(first) > int(last):
            return None
        if not first:
            part = Part(max(0, size - int(last)), size - 1)
            if int(last) and not size:
                return None  # there are no bytes to send a part of
            if not int(last):
                continue
        else:
            part = Part(int(first), min(int(last), size - 1) if last else size - 1)
        if part.first < size:
            wanted.append(part)
    if not found:
        return None
    joined = _join(wanted)
    return None if len(joined) > MOST_RANGES else joined


def _join(parts: Sequence[Part]) -> list[Part]:
    """Ranges that overlap or touch made one, at the place of the first of them."""
    joined: list[Part] = []
    places: dict[Part, int] = {}
    for place, part in sorted(enumerate(parts), key=lambda one: one[1]):
        if joined and part.first <= joined[-1].last + 1:
            before = joined.pop()
            place = min(place, places.pop(before))
            part = Part(before.first, max(before.last, part.last))
        joined.append(part)
        places[part] = place
    return sorted(joined, key=lambda part: places[part])


def _content_range(part: Part, size: int) -> str:
    return f"bytes {part.first}-{part.last}/{size}"


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of tags holds ours. A tag marked weak only matches where a `weak` comparison is enough."""
    if header.strip() == "*":
        return True
    return any(found[2] == etag and (weak or not found[1]) for found in _TAG.finditer(header))


def _range_counts(if_range: str, etag: str) -> bool:
    """Whether a range is to be looked at: the client has the beginning of just these bytes. A date never says so, as we tell none."""
    return not if_range or if_range.strip() == etag


def disposition(name: str, *, inline: bool) -> str:
    """The header `Content-Disposition` (RFC 6266): a plain name for old clients, and the true one."""
    safe = safe_name(name)
    plain = "".join(sign if " " <= sign <= "~" and sign not in '"\\%' else "_" for sign in safe)
    told = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    return told if plain == safe else f"{told}; filename*=UTF-8''{quote(safe, safe='')}"


def safe_name(name: str) -> str:
    """The last part of a name, fit for any file system: without signs that are not seen, leading dots, and names that mean a device."""
    last = re.split(r"[/\\]", name)[-1]
    clean = re.sub(r'[<>:"|?*]', "_", _UNFIT.sub("", last)).strip(" .")
    while len(clean.encode()) > MOST_NAME:
        stem, dot, suffix = clean.rpartition(".")
        clean = f"{stem[:-1]}{dot}{suffix}" if len(stem) > 1 and len(suffix) < 20 else clean[:-1]
    if not clean:
        return "download"
    return f"_{clean}" if _RESERVED.match(clean) else clean
