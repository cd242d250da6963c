"""Files that are followed: every write is told, whatever was there when one began."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrarium.store.log import Followed, FollowedFiles, appears


@pytest.fixture
async def files() -> Iterator[FollowedFiles]:
    made = FollowedFiles()
    yield made  # type: ignore[misc]
    made.close()


async def told(followed: Followed) -> None:
    async with asyncio.timeout(10):
        await followed.changed.wait()


def arm(followed: Followed) -> None:
    followed.changed.clear()
    followed.arm()


async def test_a_write_is_told(files: FollowedFiles, tmp_path: Path) -> None:
    path = tmp_path / "a.out"
    path.write_text("")
    with files.follow(path, asyncio.Event()) as followed:
        for _ in range(3):
            arm(followed)
            with path.open("a") as file:
                file.write("more")
            await told(followed)
        assert not followed.blind


async def test_a_file_in_folders_that_are_not_there_yet(files: FollowedFiles, tmp_path: Path) -> None:
    path = tmp_path / "2026" / "11" / "a.out"
    with files.follow(path, asyncio.Event()) as followed:
        for make in (path.parent.parent.mkdir, path.parent.mkdir, path.touch, lambda: path.write_text("x")):
            arm(followed)
            make()
            await told(followed)
        assert path.read_text() == "x"


async def test_what_is_made_between_looking_and_watching_is_not_missed(
    files: FollowedFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run" / "a.out"
    add = files._add

    def slow(place: Path) -> int:
        if place == tmp_path and not path.exists():  # the file appears after it was looked for, before the folder is watched
            path.parent.mkdir()
            path.write_text("early")
        return add(place)

    monkeypatch.setattr(files, "_add", slow)
    with files.follow(path, asyncio.Event()) as followed:
        arm(followed)
        with path.open("a") as file:
            file.write("late")
        await told(followed)


async def test_a_file_that_was_exchanged_is_found_again(files: FollowedFiles, tmp_path: Path) -> None:
    path, other = tmp_path / "a.out", tmp_path / "b.out"
    path.write_text("old")
    other.write_text("new")
    with files.follow(path, asyncio.Event()) as followed:
        arm(followed)
        os.replace(other, path)
        await told(followed)
        arm(followed)
        with path.open("a") as file:
            file.write("er")
        await told(followed)


async def test_many_follow_one_file_and_each_may_leave(files: FollowedFiles, tmp_path: Path) -> None:
    path = tmp_path / "a.out"
    path.touch()
    with files.follow(path, asyncio.Event()) as stays:
        with files.follow(path, asyncio.Event()) as leaves:
            arm(leaves)
            arm(stays)
        with path.open("a") as file:
            file.write("x")
        await told(stays)
        assert not leaves.changed.is_set()
    assert files._followers == {}


async def test_without_watches_files_are_looked_at(files: FollowedFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_opened", lambda: False)
    with files.follow(tmp_path / "a.out", asyncio.Event()) as followed:
        arm(followed)
        assert followed.blind


async def test_what_is_written_beside_the_awaited_is_no_news(files: FollowedFiles, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    with files.follow(tmp_path / "awaited", asyncio.Event()) as followed, files.follow(other, asyncio.Event()) as written:
        arm(followed)
        arm(written)
        other.write_text("x")
        await told(written)  # of one descriptor's news in their order, the folder's would have come with it
        assert not followed.changed.is_set()
        (tmp_path / "awaited").touch()
        await told(followed)


async def test_a_folder_is_waited_for(tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "b"
    waiting = asyncio.create_task(appears(wanted))
    await asyncio.sleep(0)
    wanted.mkdir(parents=True)
    async with asyncio.timeout(10):
        await waiting
    await appears(wanted)
