"""Blobs in a folder of this machine.

A blob is written to a temporary file, synced, and renamed into place, so a name that exists holds all of its content. Putting the same
content again makes it young again, so that what sweeps old blobs away leaves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from .fault import Place, damaged
from .port import CHUNK_BYTES, DAY_US, DIGITS, Content, Measure, Stored, check_hash, chunks_of

PART = "part-"
LEAVING = ".leaving"


class BlobFolder:
    """Blobs under `folder`, as `<first two digits>/<hash>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        hint = "free some space, or make the folder readable and writable for this user"
        self._failing = Place(f"the blob folder {folder}", "disk_error", hint).failing

    def __str__(self) -> str:
        return str(self.folder)

    def path(self, hash_: str) -> Path:
        """Where the blob is or would be. Raises `Invalid` for what is no hash, so no name can leave the folder."""
        return self.folder / check_hash(hash_)[:2] / hash_

    async def put(self, content: Content, max_bytes: int = 0) -> Stored:
        measure = Measure(max_bytes)
        with self._failing():
            file = await asyncio.to_thread(self._begin)
        try:
            async for chunk in chunks_of(content):
                measure.update(chunk)
                with self._failing():
                    await asyncio.to_thread(file.write, chunk)
            stored = measure.stored()
            with self._failing():
                await asyncio.to_thread(self._place, file, stored.sha256)
            return stored
        finally:
            with contextlib.suppress(OSError):  # the disk's complaint was told by what failed first
                file.close()
            Path(file.name).unlink(missing_ok=True)

    def _begin(self) -> BinaryIO:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=PART, dir=self.folder)
        os.close(fd)
        return open(name, "wb")

    def _place(self, file: BinaryIO, hash_: str) -> None:
        path = self.path(hash_)
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
            _sync_folder(path.parent)  # whoever placed it may not have come so far
            return
        file.flush()
        os.fsync(file.fileno())
        path.parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(file.name, path)
        _sync_folder(path.parent)
        _sync_folder(self.folder)

    async def size(self, hash_: str) -> int:
        path = self.path(hash_)
        with self._failing(hash_):
            return (await asyncio.to_thread(path.stat)).st_size

    async def has(self, hash_: str) -> bool:
        return await asyncio.to_thread(self.path(hash_).is_file)

    @asynccontextmanager
    async def open(self, hash_: str, start: int = 0, length: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        path = self.path(hash_)
        with self._failing(hash_):
            file = await asyncio.to_thread(_open_at, path, start)
        try:
            yield self._read(file, hash_, length)
        finally:
            file.close()

    async def _read(self, file: BinaryIO, hash_: str, length: int | None) -> AsyncIterator[bytes]:
        left = length
        while left is None or left > 0:
            with self._failing():
                chunk = await asyncio.to_thread(file.read, CHUNK_BYTES if left is None else min(left, CHUNK_BYTES))
            if not chunk:
                if left:
                    raise damaged(f"{self.path(hash_)}")
                return
            left = None if left is None else left - len(chunk)
            yield chunk

    async def delete(self, hash_: str, before_us: int | None = None) -> bool:
        path = self.path(hash_)
        with self._failing():
            return await asyncio.to_thread(_delete, path, before_us)

    async def older(self, before_us: int) -> AsyncIterator[list[str]]:
        with self._failing():
            folders = await asyncio.to_thread(self._folders, before_us)
            for folder in folders:
                if found := await asyncio.to_thread(_older, folder, before_us):
                    yield found

    def _folders(self, before_us: int) -> list[Path]:
        """The folders of blobs. Parts whose put broke off are removed."""
        folders: list[Path] = []
        for entry in os.scandir(self.folder) if self.folder.is_dir() else ():
            if len(entry.name) == 2 and DIGITS.issuperset(entry.name):
                folders.append(Path(entry.path))
            elif entry.name.startswith(PART) and _changed_us(Path(entry.path)) < before_us:
                Path(entry.path).unlink(missing_ok=True)
        return sorted(folders)


def now_us() -> int:
    return time.time_ns() // 1000


def _open_at(path: Path, start: int) -> BinaryIO:
    file = open(path, "rb", buffering=0)  # noqa: SIM115
    file.seek(start)
    return file


def _changed_us(path: Path) -> int:
    """When a file was last put; of one that has just gone: now."""
    try:
        return path.stat().st_mtime_ns // 1000
    except FileNotFoundError:
        return now_us() + DAY_US


def _delete(path: Path, before_us: int | None) -> bool:
    """A put of the same content may come at any moment: it makes the file young, or finds none and places its own. So an old one is
    taken aside before its age is read for the last time."""
    if before_us is None:
        path.unlink(missing_ok=True)
        return True
    aside = path.with_name(path.name + LEAVING)
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return True
    if _changed_us(aside) >= before_us and not path.exists():
        os.replace(aside, path)
        return False
    aside.unlink(missing_ok=True)
    return not path.exists()


def _older(folder: Path, before_us: int) -> list[str]:
    """Old blobs of one folder. One that was being deleted when the process ended is put back first: nobody knows whether it is wanted."""
    for entry in list(os.scandir(folder)):
        if entry.name.endswith(LEAVING):
            os.replace(entry.path, entry.path.removesuffix(LEAVING))
    names = [entry.name for entry in os.scandir(folder) if len(entry.name) == 64 and DIGITS.issuperset(entry.name)]
    return sorted(name for name in names if _changed_us(folder / name) < before_us)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
