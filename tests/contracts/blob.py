"""What every place for blobs promises (`store.blob.port.Blobs`)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import blake3
import pytest

from astrarium.errors import Invalid, NotFound, TooMuch, Unavailable
from astrarium.store.blob.folder import now_us
from astrarium.store.blob.port import CHUNK_BYTES, Blobs, Stored

MISSING = "0" * 64
BAD_NAMES = ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "/" * 64, "０" * 64, "0" * 63 + "\n", "0" * 63 + "\x00"]
Cut = Callable[[str], Awaitable[None]]


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for one in given:
        yield one


async def read(blobs: Blobs, hash_: str, start: int = 0, length: int | None = None) -> bytes:
    async with blobs.open(hash_, start, length) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def listed(blobs: Blobs, before_us: int) -> set[str]:
    return {name async for page in blobs.older(before_us) for name in page}


class BlobContract:
    """`blobs` is an empty place. `cut` shortens a blob behind its back to half its length."""

    @pytest.fixture
    def blobs(self) -> Blobs:
        raise NotImplementedError

    @pytest.fixture
    def cut(self, blobs: Blobs) -> Cut:
        raise NotImplementedError

    async def test_the_same_content_is_kept_once(self, blobs: Blobs) -> None:
        stored = await blobs.put(b"content")
        assert stored == Stored(hashlib.sha256(b"content").hexdigest(), blake3.blake3(b"content").hexdigest(), 7)
        assert await blobs.put(pieces(b"con", b"", b"tent")) == stored
        assert await listed(blobs, now_us() + 10_000_000) == {stored.sha256}
        assert await read(blobs, stored.sha256) == b"content"
        assert await blobs.has(stored.sha256)
        assert await blobs.size(stored.sha256) == 7

    @pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 6 * CHUNK_BYTES + 17])
    async def test_any_size_comes_back_as_it_went_in(self, blobs: Blobs, size: int) -> None:
        content = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
        stored = await blobs.put(pieces(content[: size // 3], content[size // 3 :]))
        assert (stored.size, stored.sha256) == (size, hashlib.sha256(content).hexdigest())
        async with blobs.open(stored.sha256) as chunks:
            found = [chunk async for chunk in chunks]
        assert b"".join(found) == content
        assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in found)

    async def test_a_part(self, blobs: Blobs) -> None:
        hash_ = (await blobs.put(b"0123456789")).sha256
        assert await read(blobs, hash_, 3, 4) == b"3456"
        assert await read(blobs, hash_, 9, 1) == b"9"
        assert await read(blobs, hash_, 7) == b"789"
        assert await read(blobs, hash_, 10) == b""
        assert await read(blobs, hash_, 4, 0) == b""

    async def test_a_reader_that_leaves_early(self, blobs: Blobs) -> None:
        hash_ = (await blobs.put(b"x" * 3 * CHUNK_BYTES)).sha256
        async with blobs.open(hash_) as chunks:
            assert await anext(aiter(chunks))
        assert len(await read(blobs, hash_)) == 3 * CHUNK_BYTES

    async def test_too_much(self, blobs: Blobs) -> None:
        assert (await blobs.put(b"x" * 10, 10)).size == 10
        with pytest.raises(TooMuch, match="10 bytes"):
            await blobs.put(pieces(b"y" * 5, b"y" * 6), 10)
        with pytest.raises(TooMuch):
            await blobs.put(b"z" * 3 * CHUNK_BYTES, CHUNK_BYTES)
        assert len(await listed(blobs, now_us() + 10_000_000)) == 1

    async def test_nothing_is_left_of_a_put_that_breaks_off(self, blobs: Blobs) -> None:
        async def breaking() -> AsyncIterator[bytes]:
            yield b"x" * 2 * CHUNK_BYTES
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await blobs.put(breaking())
        assert await listed(blobs, now_us() + 10_000_000) == set()

    async def test_what_is_not_there(self, blobs: Blobs) -> None:
        assert not await blobs.has(MISSING)
        with pytest.raises(NotFound):
            await blobs.size(MISSING)
        with pytest.raises(NotFound):
            async with blobs.open(MISSING):
                pass
        assert await blobs.delete(MISSING)
        assert await listed(blobs, now_us()) == set()

    @pytest.mark.parametrize("name", BAD_NAMES)
    async def test_only_hashes_are_names(self, blobs: Blobs, name: str) -> None:
        for call in (blobs.size, blobs.has, blobs.delete):
            with pytest.raises(Invalid):
                await call(name)
        with pytest.raises(Invalid):
            async with blobs.open(name):
                pass

    async def test_removed(self, blobs: Blobs) -> None:
        hash_ = (await blobs.put(b"content")).sha256
        assert await blobs.delete(hash_)
        assert not await blobs.has(hash_)
        assert (await blobs.put(b"content")).sha256 == hash_
        assert await read(blobs, hash_) == b"content"

    async def test_what_is_young_stays(self, blobs: Blobs) -> None:
        before = now_us() - 10_000_000
        hash_ = (await blobs.put(b"content")).sha256
        assert await listed(blobs, before) == set()
        assert not await blobs.delete(hash_, before)
        assert await read(blobs, hash_) == b"content"
        assert await blobs.delete(hash_, now_us() + 10_000_000)
        assert not await blobs.has(hash_)

    async def test_many_at_once(self, blobs: Blobs) -> None:
        stored = await asyncio.gather(*(blobs.put(b"%d" % (number % 5)) for number in range(50)))
        assert len({one.sha256 for one in stored}) == 5
        assert await listed(blobs, now_us() + 10_000_000) == {one.sha256 for one in stored}

    async def test_a_blob_that_was_cut_is_seen(self, blobs: Blobs, cut: Cut) -> None:
        content = b"x" * 1000
        hash_ = (await blobs.put(content)).sha256
        await cut(hash_)
        with pytest.raises(Unavailable, match="damaged"):
            await read(blobs, hash_, 0, len(content))
