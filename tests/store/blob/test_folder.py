"""Blobs in a folder: what is on the disk, and what a sweep and a put do at the same moment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from astrarium.errors import Unavailable
from astrarium.store.blob import folder
from astrarium.store.blob.folder import LEAVING, PART, BlobFolder, now_us

HOUR_US = 3_600_000_000


def age(path: Path, us: int) -> None:
    at = path.stat().st_mtime_ns - us * 1000
    os.utime(path, ns=(at, at))


async def test_one_file_and_nothing_else(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    hash_ = (await blobs.put(b"content")).sha256
    await blobs.put(b"content")
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == [blobs.path(hash_)]
    assert stat.S_IMODE(blobs.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(blobs.path(hash_).stat().st_mode) == 0o600


async def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    blobs = BlobFolder(tmp_path / "blobs")
    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left"):
        await blobs.put(b"content")
    assert list(blobs.folder.iterdir()) == []


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"Not a directory|File exists"):
        await BlobFolder(tmp_path / "file" / "blobs").put(b"content")


async def test_an_old_blob_put_again_is_young(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path)
    hash_ = (await blobs.put(b"content")).sha256
    age(blobs.path(hash_), HOUR_US)
    before = now_us() - HOUR_US // 2
    assert [page async for page in blobs.older(before)] == [[hash_]]
    await blobs.put(b"content")
    assert [page async for page in blobs.older(before)] == []
    assert not await blobs.delete(hash_, before)
    assert await blobs.has(hash_)


async def test_put_again_while_it_is_being_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The put comes after the sweep looked at the age, and finds the old file or none: the content is there in the end."""
    blobs = BlobFolder(tmp_path)
    hash_ = (await blobs.put(b"content")).sha256
    path = blobs.path(hash_)
    age(path, HOUR_US)
    replace = os.replace

    def touched_first(source: str | Path, target: str | Path) -> None:
        if str(target).endswith(LEAVING):
            os.utime(source)
        replace(source, target)

    monkeypatch.setattr(folder.os, "replace", touched_first)
    assert not await blobs.delete(hash_, now_us() - HOUR_US // 2)
    age(path, HOUR_US)

    def placed_after(source: str | Path, target: str | Path) -> None:
        replace(source, target)
        if str(target).endswith(LEAVING):
            path.write_bytes(b"content")

    monkeypatch.setattr(folder.os, "replace", placed_after)
    assert not await blobs.delete(hash_, now_us() - HOUR_US // 2)
    assert path.read_bytes() == b"content"
    assert [one.name for one in path.parent.iterdir()] == [hash_]


async def test_what_a_dead_process_left(tmp_path: Path) -> None:
    """Parts of puts that broke off go when they are old; a blob that was being removed is a blob again."""
    blobs = BlobFolder(tmp_path)
    hash_ = (await blobs.put(b"content")).sha256
    path = blobs.path(hash_)
    path.rename(path.with_name(path.name + LEAVING))
    for name in ("old", "new"):
        (tmp_path / f"{PART}{name}").write_bytes(b"half")
    age(tmp_path / f"{PART}old", HOUR_US)
    (tmp_path / "not a blob").mkdir()
    assert [page async for page in blobs.older(now_us() - HOUR_US // 2)] == []
    assert path.read_bytes() == b"content"
    assert sorted(one.name for one in tmp_path.iterdir()) == [hash_[:2], "not a blob", f"{PART}new"]
