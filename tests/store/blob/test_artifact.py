"""Artifacts: limits of what is put, the row that says whose it is, and what a sweep leaves and takes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import blake3
import msgspec
import pytest

from astrarium.config import Settings
from astrarium.errors import Invalid, NotFound, Refused, TooMuch, Unavailable
from astrarium.kernel.audit import AuditLog
from astrarium.kernel.clock import HandClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Machine, Move, Registry
from astrarium.kernel.ports import Store
from astrarium.kernel.record.artifact import (
    ARTIFACTS,
    RUN,
    Artifact,
    artifact_keys,
    artifact_row,
    count_artifacts,
    find_artifact,
    list_artifacts,
)
from astrarium.kernel.types import Command, Facts, Row, Scope
from astrarium.store.blob.artifact import ORPHAN_US, SWEEP_US, Artifacts, check_name, open_artifacts
from astrarium.store.blob.bucket import BlobBucket
from astrarium.store.blob.folder import BlobFolder
from astrarium.store.postgres import PostgresStore
from astrarium.store.sqlite import SqliteStore
from tests.kernel.book import open_engine

HERE = Scope("ws", "env")


class Keep(msgspec.Struct, frozen=True, tag=True):
    artifact: Artifact


class Close(msgspec.Struct, frozen=True, tag=True):
    pass


class Kept(msgspec.Struct, frozen=True, tag=True):
    artifact: Artifact


class Closed(msgspec.Struct, frozen=True, tag=True):
    pass


class Box:
    def __init__(self, id_: str, scope: Scope) -> None:
        self.id = id_
        self.scope = scope
        self.closed = False
        self.new: list[Row] = []


class BoxMachine(Machine[Box]):
    """A life that has artifacts."""

    name = "box"
    events = (Kept, Closed)
    tables = (ARTIFACTS,)
    table = (
        Move("box", ("open",), (Keep,), Kept, ("open",)),
        Move("box", ("open",), (Close,), Closed, ("closed",)),
    )

    def new(self, stream: str, scope: Scope) -> Box:
        return Box(stream.partition(":")[2], scope)

    def decide(self, state: Box, command: Any, facts: Facts) -> list[Any]:
        if state.closed:
            raise Refused("the box is closed")
        return [Kept(command.artifact) if isinstance(command, Keep) else Closed()]

    def status(self, state: Box, event: Any) -> str:
        return "closed" if state.closed else "open"

    def evolve(self, state: Box, event: Any, at: int) -> None:
        if isinstance(event, Kept):
            state.new.append(artifact_row(state.scope, RUN, state.id, event.artifact, at))
        else:
            state.closed = True

    def rows(self, state: Box) -> Iterable[Row]:
        new, state.new = state.new, []
        return new

    def ended(self, state: Box) -> bool:
        return state.closed

    def dump(self, state: Box) -> bytes:
        return msgspec.json.encode([state.id, state.closed])

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> Box:
        box = self.new(stream, scope)
        box.closed = msgspec.json.decode(data)[1]
        return box


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def engine(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    registry = Registry()
    registry.add_machine(AuditLog())
    registry.add_machine(BoxMachine())
    store: Store
    if request.param == "sqlite":
        store = SqliteStore(tmp_path / "a.db", tables=registry.tables, synchronous="normal")
    else:
        store = PostgresStore(request.getfixturevalue("postgres_database"), tables=registry.tables)
    async with open_engine(store, registry) as engine:
        yield engine


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(BlobFolder(tmp_path / "blobs"))


async def test_what_an_event_is_told(artifacts: Artifacts) -> None:
    made = await artifacts.put(b"# Report", "report.md", "text/markdown", metadata={"step": 3})
    digest = blake3.blake3(b"# Report").hexdigest()
    assert (made.id, made.blake3, made.size) == (digest[:32], digest, 8)
    assert (made.name, made.content_type, made.metadata) == ("report.md", "text/markdown", {"step": 3})
    assert (await artifacts.put(b"{}", "a.json")).content_type == "application/json"
    own = await artifacts.put(b"{}", "a.json", key="json/a", id_="018f")
    assert (own.key, own.id) == ("json/a", "018f")
    assert await artifacts.read(made.sha256, 100) == b"# Report"
    assert (await artifacts.preview(made.sha256, 3)).text == "# R"
    with pytest.raises(TooMuch):
        await artifacts.read(made.sha256, 7)
    await artifacts.check()


async def test_limits(tmp_path: Path) -> None:
    small = Artifacts(BlobFolder(tmp_path), 4, ("text/*",))
    with pytest.raises(TooMuch, match="larger than 4"):
        await small.put(b"12345", "a.txt")
    with pytest.raises(Invalid, match="not taken"):
        await small.put(b"1", "a.png")
    assert (await small.put(b"1234", "a.txt")).size == 4


@pytest.mark.parametrize("name", ["report.md", "Größe 1.txt", "…", ".hidden", "a..b", "日本.png", "x" * 255])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", " . ", "a/b", "../etc/passwd", "a\\b", "a\nb", "a\x00", "\u202egpj.exe", "a\u200b", "\ufeffa", "\ud800", "x" * 256,
     "ü" * 128],
)  # fmt: skip
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)


def test_names_are_composed() -> None:
    assert check_name("u\u0308.txt") == "ü.txt"


async def test_rows_are_written_with_their_event(engine: Engine, artifacts: Artifacts) -> None:
    first = await artifacts.put(b"one", "a.txt")
    await engine.submit(Command("box:1", Keep(first), HERE))
    assert isinstance(engine.clock, HandClock)
    engine.clock.turn_to(engine.clock.now() + 1)
    await engine.submit(Command("box:2", Keep(first), HERE))
    second = await artifacts.put(b"two", "a.txt", key="k", id_="id-2", metadata={"of": ["x"]})
    await engine.submit(Command("box:1", Keep(second), HERE))
    third = await artifacts.put(b"three", "b.txt", key="k", id_="id-3")
    await engine.submit(Command("box:1", Keep(third), HERE))
    listed = await list_artifacts(engine.store, "ws", RUN, "1")
    assert [(one.name, one.key, one.sha256, one.environment) for one in listed] == [
        ("a.txt", first.key, first.sha256, "env"), ("b.txt", "k", third.sha256, "env"),
    ]  # fmt: skip
    found = await find_artifact(engine.store, "ws", first.id)
    assert found is not None and (found.owner, found.size, found.metadata) == ("2", 3, {})
    assert await find_artifact(engine.store, "ws", "id-2") is None
    assert await find_artifact(engine.store, "other", first.id) is None
    assert await count_artifacts(engine.store, "ws", RUN, ["1", "2", "3"]) == {"1": 2, "2": 1}
    assert await count_artifacts(engine.store, "ws", RUN, []) == {}


async def test_nothing_is_recorded_of_what_was_refused(engine: Engine, artifacts: Artifacts) -> None:
    await engine.submit(Command("box:1", Close(), HERE))
    with pytest.raises(Refused):
        await engine.submit(Command("box:1", Keep(await artifacts.put(b"one", "a.txt")), HERE))
    assert await list_artifacts(engine.store, "ws", RUN, "1") == []


def grow_old(artifacts: Artifacts) -> None:
    """Make all blobs older than an orphan may get, and the last sweep too."""
    artifacts._swept_us -= SWEEP_US
    assert isinstance(artifacts.blobs, BlobFolder)
    for path in artifacts.blobs.folder.rglob("*"):
        at = path.stat().st_mtime_ns - ORPHAN_US * 1000 - 10**9
        os.utime(path, ns=(at, at))


async def test_a_sweep_takes_what_belongs_to_nobody(engine: Engine, artifacts: Artifacts) -> None:
    held = await artifacts.put(b"held", "a.txt")
    orphan = await artifacts.put(b"orphan", "b.txt")
    for box in ("box:1", "box:2"):
        await engine.submit(Command(box, Keep(held), HERE))
    assert await artifacts.sweep(engine.store) == 0
    grow_old(artifacts)
    young = await artifacts.put(b"young", "c.txt")
    assert await artifacts.sweep(engine.store) == 1
    assert await artifacts.sweep(engine.store) == 0
    assert not await artifacts.blobs.has(orphan.sha256)
    assert await artifacts.blobs.has(held.sha256) and await artifacts.blobs.has(young.sha256)


async def test_bytes_go_with_their_last_owner(engine: Engine, artifacts: Artifacts) -> None:
    made = await artifacts.put(b"held", "a.txt")
    for box in ("1", "2"):
        await engine.submit(Command(f"box:{box}", Keep(made), HERE))
        await engine.submit(Command(f"box:{box}", Close(), HERE))
    for box, left in (("1", True), ("2", False)):
        keys = await artifact_keys(engine.store, "ws", RUN, [box])
        await engine.remove([f"box:{box}"], HERE, {ARTIFACTS: keys}, ())
        grow_old(artifacts)
        assert await artifacts.sweep(engine.store) == (not left)
        assert await artifacts.blobs.has(made.sha256) == left
    with pytest.raises(NotFound):
        await artifacts.preview(made.sha256)


def test_places_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    own = open_artifacts(Settings(data_dir=tmp_path, artifact_types="text/*, image/png", artifact_max_bytes=5))
    assert isinstance(own.blobs, BlobFolder) and own.blobs.folder == tmp_path / "blobs"
    assert (own.allowed, own.max_bytes) == (("text/*", "image/png"), 5)
    there = open_artifacts(Settings(data_dir=tmp_path, artifact_store=str(tmp_path / "there")))
    assert isinstance(there.blobs, BlobFolder) and there.blobs.folder == tmp_path / "there"
    bucket = open_artifacts(Settings(data_dir=tmp_path, artifact_store="s3://bucket/some/prefix"))
    assert isinstance(bucket.blobs, BlobBucket) and str(bucket.blobs) == "s3://bucket/some/prefix"
    with pytest.raises(Unavailable, match="artifact_store"):
        open_artifacts(Settings(data_dir=tmp_path, artifact_store="nowhere://x"))
