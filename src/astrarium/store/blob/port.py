"""What is asked of a place where blobs are kept, and how content becomes a name."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import BinaryIO, Protocol

import blake3
import msgspec

from ...errors import Invalid, TooMuch

CHUNK_BYTES = 1 << 20
DIGITS = frozenset("0123456789abcdef")
DAY_US = 86_400_000_000

Content = bytes | AsyncIterable[bytes]
"""All at once, or piece by piece as it comes."""


class Stored(msgspec.Struct, frozen=True):
    """What was put: `sha256` is the name it is kept under, `blake3` a second digest of the same bytes, both in hexadecimal digits."""

    sha256: str
    blake3: str
    size: int


class Blobs(Protocol):
    """A place for blobs. Each method raises `Invalid` for what is no hash, and `Unavailable` when the place cannot be reached, read
    or written."""

    async def put(self, content: Content, max_bytes: int = 0) -> Stored:
        """Keep bytes; the same content is kept once. When this returns they are durable. Raises `TooMuch` above `max_bytes`
        (0 = no limit), and leaves nothing behind then."""

    async def size(self, hash_: str) -> int:
        """Bytes. Raises `NotFound`."""

    async def has(self, hash_: str) -> bool: ...

    def open(self, hash_: str, start: int = 0, length: int | None = None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes from `start` on, `length` of them (None = to the end), in pieces of at most `CHUNK_BYTES`. Entering raises
        `NotFound`; a piece raises `Unavailable` (`damaged`) when the blob is shorter than it was."""

    async def delete(self, hash_: str, before_us: int | None = None) -> bool:
        """Remove it; whether it is gone. One that is not there is no error. With `before_us` (microseconds UTC) one that was put,
        or put again, since then stays."""

    def older(self, before_us: int) -> AsyncIterator[list[str]]:
        """Hashes of what was neither put nor put again since then (microseconds UTC), page by page. What broken-off puts left behind
        before then is removed on the way."""


class Measure:
    """The digests of what passes. Raises `TooMuch` above `max_bytes` (0 = no limit)."""

    def __init__(self, max_bytes: int) -> None:
        self.size = 0
        self._max_bytes = max_bytes
        self._sha256 = hashlib.sha256()
        self._blake3 = blake3.blake3()

    def update(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._max_bytes and self.size > self._max_bytes:
            raise TooMuch(
                f"the content is larger than {self._max_bytes:,} bytes", hint="the setting artifact_max_bytes allows more"
            )
        self._sha256.update(chunk)
        self._blake3.update(chunk)

    def stored(self) -> Stored:
        return Stored(self._sha256.hexdigest(), self._blake3.hexdigest(), self.size)


def check_hash(hash_: str) -> str:
    """Raises `Invalid` for what is no hash, so that no name can lead anywhere else."""
    if len(hash_) != 64 or not DIGITS.issuperset(hash_):
        raise Invalid(f"{hash_[:80]!r} is not a SHA-256 in small hexadecimal digits")
    return hash_


async def chunks_of(content: Content) -> AsyncIterator[bytes]:
    """The content in pieces worth a write each: small ones are gathered, a large one is cut."""
    if isinstance(content, bytes):
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]
        return
    gathered = bytearray()
    async for piece in content:
        gathered += piece
        while len(gathered) >= CHUNK_BYTES:
            yield bytes(gathered[:CHUNK_BYTES])
            del gathered[:CHUNK_BYTES]
    if gathered:
        yield bytes(gathered)


async def read_file(file: BinaryIO) -> AsyncIterator[bytes]:
    """An open file to its end, as content."""
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk
