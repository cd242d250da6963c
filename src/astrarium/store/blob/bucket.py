"""Blobs in an object store: S3, Google Cloud Storage, Azure, and what speaks their languages. Needs the extra `[object-store]`.

What is put is first written to a file of this machine, since its name is known only at its end; then it is uploaded whole, in parts where
it is large. Who we are there is told as each provider's own tools are told it: by variables of the environment, or by the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ...errors import Unavailable
from ...lazy import library
from .fault import Place, damaged
from .folder import PART, now_us
from .port import CHUNK_BYTES, DAY_US, Content, Measure, Stored, check_hash, chunks_of

if TYPE_CHECKING:
    import obstore
    import obstore.store
else:
    obstore = library("obstore")

RENEW_US = DAY_US // 4
"""The same content put again after so long is uploaded again: an object store has no other way to make it young."""
PAGE = 1000
RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
"""One who waits for an artifact is told soon that the store cannot be reached."""
PIECE_BYTES = 4 * CHUNK_BYTES
"""Read by one request: a client that takes its bytes slowly keeps none waiting."""


class BlobBucket:
    """Blobs in `store`, as `<first two digits>/<hash>`. `spool` is a folder of this machine for what is under way."""

    def __init__(self, store: obstore.store.ObjectStore, shown: str, spool: Path) -> None:
        self._store = store
        self._shown = shown
        self._spool = spool
        hint = "see the address, the credentials and the network"
        self._failing = Place(f"the object store {shown}", "object_store_error", hint, obstore.exceptions.BaseError).failing

    def __str__(self) -> str:
        return self._shown

    def _key(self, hash_: str) -> str:
        return f"{check_hash(hash_)[:2]}/{hash_}"

    async def put(self, content: Content, max_bytes: int = 0) -> Stored:
        measure = Measure(max_bytes)
        with contextlib.ExitStack() as held:
            with self._failing():
                file = held.enter_context(await asyncio.to_thread(self._begin))
            async for chunk in chunks_of(content):
                measure.update(chunk)
                with self._failing():
                    await asyncio.to_thread(_write, file, chunk)
            stored = measure.stored()
            with self._failing():
                await asyncio.to_thread(file.flush)
                if await self._changed_us(stored.sha256) < now_us() - RENEW_US:
                    await obstore.put_async(self._store, self._key(stored.sha256), Path(file.name))
            return stored

    def _begin(self) -> IO[bytes]:
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=self._spool, prefix=PART)

    async def _changed_us(self, hash_: str) -> int:
        """When it was last put; 0 = never."""
        try:
            return _us((await obstore.head_async(self._store, self._key(hash_)))["last_modified"])
        except FileNotFoundError:
            return 0

    async def size(self, hash_: str) -> int:
        with self._failing(hash_):
            return int((await obstore.head_async(self._store, self._key(hash_)))["size"])

    async def has(self, hash_: str) -> bool:
        with self._failing():
            return bool(await self._changed_us(hash_))

    @asynccontextmanager
    async def open(self, hash_: str, start: int = 0, length: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        key = self._key(hash_)
        size = await self.size(hash_)
        end = size if length is None else start + length
        yield self._read(key, start, end, size)

    async def _read(self, key: str, start: int, end: int, size: int) -> AsyncIterator[bytes]:
        if end > size:
            raise damaged(f"{self}/{key}")
        for at in range(start, end, PIECE_BYTES):
            with self._failing():
                piece = bytes(await obstore.get_range_async(self._store, key, start=at, end=min(at + PIECE_BYTES, end)))
            for place in range(0, len(piece), CHUNK_BYTES):
                yield piece[place : place + CHUNK_BYTES]

    async def delete(self, hash_: str, before_us: int | None = None) -> bool:
        key = self._key(hash_)
        with self._failing():
            if before_us is not None and await self._changed_us(hash_) >= before_us:
                return False
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)
        return True

    async def older(self, before_us: int) -> AsyncIterator[list[str]]:
        with self._failing():
            async for page in obstore.list(self._store, chunk_size=PAGE):
                old = [str(found["path"]).rpartition("/")[2] for found in page if _us(found["last_modified"]) < before_us]
                if names := [name for name in old if len(name) == 64]:
                    yield names


def open_bucket(url: str, spool: Path) -> BlobBucket:
    """The object store at `s3://bucket/prefix`, `gs://…`, `az://container/prefix`. Raises `Unavailable` when the library is missing or
    the address makes no sense to it."""
    try:
        store = obstore.store.from_url(url, retry_config=RETRIES)
    except ImportError as error:
        raise Unavailable(
            "an object store needs the library obstore", hint="install it with `pip install 'astrarium[object-store]'`"
        ) from error
    except (obstore.exceptions.BaseError, ValueError) as error:
        told = str(error).split("\n", 1)[0][:300]
        raise Unavailable(
            f"artifact_store = {url!r} cannot be used: {told}", hint="write s3://BUCKET/PREFIX, gs:// or az://"
        ) from error
    return BlobBucket(store, url, spool)


def _write(file: IO[bytes], chunk: bytes) -> None:
    file.write(chunk)


def _us(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * 1_000_000)
