"""What surfaces keep as artifacts: bytes put within limits, opened again by whoever they belong to, and swept away when they belong to
nobody any more.

A put is the first half: the bytes are durable, and nobody's yet. The second is the command whose event carries what it returned
(`kernel/record/artifact`). Bytes whose second half never came go with the next sweep after `ORPHAN_US`.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from ...config import Settings
from ...errors import Invalid, NotFound, Problem, TooMuch
from ...kernel.ports import Store
from ...kernel.record.artifact import Artifact, unreferenced
from .bucket import open_bucket
from .folder import BlobFolder, now_us
from .media import Preview, check_type, preview_of, type_of
from .port import DAY_US, Blobs, Content

ORPHAN_US = DAY_US
"""How long bytes may lie without an owner: far longer than any command takes to name one."""
SWEEP_US = 3_600_000_000
"""A sweep looks at every blob there is, so it is made no more often."""
SWEPT_AT_ONCE = 500
PREVIEW_BYTES = 64 * 1024
MOST_NAME = 255
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\\u0080-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Signs a name does not hold: separators of paths, and what is not seen or turns the direction of reading round."""


class Artifacts:
    """The artifacts of one server."""

    def __init__(self, blobs: Blobs, max_bytes: int = 0, allowed: tuple[str, ...] = ()) -> None:
        self.blobs = blobs
        self.max_bytes = max_bytes
        self.allowed = allowed
        self._swept_us = 0
        self._sweeping = asyncio.Lock()

    async def put(
        self,
        content: Content,
        name: str,
        content_type: str = "",
        *,
        key: str = "",
        id_: str = "",
        metadata: Mapping[str, Any] = {},
    ) -> Artifact:
        """Keep bytes, durably, and say what an event is to tell of them. Without a type the name tells it; without `id_` it is the first
        half of the BLAKE3 digest, without `key` name and id. Raises `Invalid` (name, content type), `TooMuch`, `Unavailable`."""
        checked = check_name(name)
        kind = check_type(content_type or type_of(checked), self.allowed)
        stored = await self.blobs.put(content, self.max_bytes)
        id_ = id_ or stored.blake3[:32]
        return Artifact(key or f"{checked}/{id_}", id_, checked, kind, stored.size, stored.sha256, stored.blake3, dict(metadata))

    def open(self, sha256: str, start: int = 0, length: int | None = None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Bytes of an artifact. Entering raises `NotFound`, `Unavailable`."""
        return self.blobs.open(sha256, start, length)

    async def read(self, sha256: str, max_bytes: int) -> bytes:
        """All bytes of an artifact that is known to be small. Raises `TooMuch` above `max_bytes`, `NotFound`, `Unavailable`."""
        size = await self.blobs.size(sha256)
        if size > max_bytes:
            raise TooMuch(f"the artifact has {size:,} bytes, more than the {max_bytes:,} that are read at once")
        async with self.blobs.open(sha256, 0, size) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def preview(self, sha256: str, max_bytes: int = PREVIEW_BYTES) -> Preview:
        """A look at the beginning. Raises `NotFound`, `Unavailable`."""
        size = await self.blobs.size(sha256)
        async with self.blobs.open(sha256, 0, min(size, max_bytes)) as chunks:
            return preview_of(b"".join([chunk async for chunk in chunks]), size)

    async def check(self) -> None:
        """Whether the place can be read. Raises `Unavailable`."""
        try:
            await self.blobs.size("0" * 64)
        except NotFound:
            return

    async def sweep(self, store: Store) -> int:
        """Remove bytes that belong to nobody and did not a day ago; how many blobs went. Does nothing when the last sweep of this
        process is less than an hour old. One whose owner is recorded meanwhile was put again just before, and so stays."""
        async with self._sweeping:
            now = now_us()
            if now - self._swept_us < SWEEP_US:
                return 0
            self._swept_us = now
            gone, before = 0, now - ORPHAN_US
            async for page in self.blobs.older(before):
                for start in range(0, len(page), SWEPT_AT_ONCE):
                    for hash_ in await unreferenced(store, page[start : start + SWEPT_AT_ONCE]):
                        gone += await self.blobs.delete(hash_, before)
            return gone


def open_artifacts(settings: Settings) -> Artifacts:
    """As the settings say: in a folder of this machine, or in an object store. Raises `Unavailable` when that cannot be used."""
    allowed = tuple(kind.strip() for kind in settings.artifact_types.split(",") if kind.strip())
    place, folder = settings.artifact_store, settings.data_dir / "blobs"
    blobs: Blobs = open_bucket(place, folder) if "://" in place else BlobFolder(Path(place) if place else folder)
    return Artifacts(blobs, settings.artifact_max_bytes, allowed)


def check_name(name: str) -> str:
    """A name as people may be shown it, in composed form. Raises `Invalid` for what could be taken for a path, hides what it is, or is
    too long."""
    composed = unicodedata.normalize("NFC", name)
    told = ""
    if not composed.strip() or composed.strip(". ") == "":
        told = "the artifact has no name"
    elif _UNFIT.search(composed):
        told = f"{name[:80]!r} cannot be the name of an artifact: it holds a separator of paths or a sign that is not seen"
    elif len(composed.encode()) > MOST_NAME:
        told = f"the name of the artifact is longer than {MOST_NAME} bytes"
    if told:
        raise Invalid(told, [Problem(told, path="name")], hint="choose a plain file name like report.md")
    return composed
