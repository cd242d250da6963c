"""Renaming a DAG: the life's contract, and that it goes on from wherever a server died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st

from astrarium.config import Settings
from astrarium.errors import AstrariumError, Refused
from astrarium.kernel.machine import Machine, Registry
from astrarium.kernel.types import Actor, Command, Scope, SlotGranted
from astrarium.runs.message import StartRun
from astrarium.spec.ids import uuid7
from astrarium.surfaces.dags.machines.rename import EndRename, NoteMoved, RenameDag, RenameMachine
from astrarium.surfaces.dags.room import CLOCK_PLACE, Room
from astrarium.surfaces.dags.work.file import write_file
from astrarium.worker import Worker, load_steps
from tests.contracts.machine import Life, MachineContract

SCOPE = Scope("personal", "local")
ANNA = Actor("user", "anna")
ORDER = RenameDag("old.yaml", "new.yaml", "old", "new", "dags", "active/dags/old")
NOOP = "steps:\n  - name: a\n    type: noop\n"


class TestContract(MachineContract):
    machine: ClassVar[Machine[Any]] = RenameMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "rename:r1", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        orders = (ORDER, NoteMoved(), EndRename(), EndRename("no"), SlotGranted("dag-file/old.yaml", 1))
        return data.draw(st.sampled_from(orders))


class Open:
    """A room with its worker over one folder."""

    def __init__(self, room: Room, worker: Worker) -> None:
        self.room = room
        self.engine = worker.engine

    async def start(self, name: str, alias: str, **more: Any) -> None:
        entry = self.room.catalog.find(name)
        assert entry.dag is not None
        body = StartRun(entry.graph, entry.name, "dags", alias, chosen=True, **more)
        await self.engine.submit(Command(f"run:{uuid7()}", body, SCOPE, ANNA), list(entry.things))

    async def until(self, sql: str, wanted: list[tuple[Any, ...]]) -> None:
        """Wait until a select gives this."""
        deadline = asyncio.get_running_loop().time() + 20
        while True:
            changed = asyncio.ensure_future(self.engine.tail.changed())
            try:
                found = await self.engine.store.read(sql)
                if found == wanted:
                    return
                assert asyncio.get_running_loop().time() < deadline, found
                await asyncio.wait((changed,), timeout=0.05)
            finally:
                changed.cancel()

    async def ended(self, number: int) -> None:
        await self.until("SELECT count(*) FROM runs WHERE status = 'ended'", [(number,)])

    async def names(self) -> list[tuple[Any, ...]]:
        return await self.engine.store.read("SELECT alias, name FROM runs ORDER BY alias")


@asynccontextmanager
async def open_room(folder: Path, *, clock: int) -> AsyncIterator[Open]:
    settings = Settings(data_dir=folder)
    settings.dags_dir.mkdir(parents=True, exist_ok=True)
    room, registry = Room(settings, load_steps()), Registry()
    room.register(registry)
    worker = await Worker.open(settings, definitions=room.definitions, registry=registry, places={CLOCK_PLACE: clock})
    await room.open(worker.engine)
    try:
        yield Open(room, worker)
    finally:
        await room.close()
        await worker.close(0.0)


async def give_order(opened: Open) -> None:
    await opened.engine.submit(Command(f"rename:{uuid7()}", ORDER, SCOPE, ANNA))


@pytest.mark.parametrize("moved", [False, True])
async def test_a_rename_nobody_finished_is_gone_on_with(tmp_path: Path, moved: bool) -> None:
    """A server gave the order and died, before or after it moved the file."""
    async with open_room(tmp_path, clock=0) as opened:
        write_file(opened.room.settings.dags_dir / "old.yaml", NOOP)
        for number in range(3):
            await opened.start("old", f"r{number}")
        await opened.ended(3)
        await give_order(opened)
        if moved:
            opened.room.catalog.move("old.yaml", "new.yaml")
    async with open_room(tmp_path, clock=4) as opened:
        await opened.until("SELECT alias, name FROM runs ORDER BY alias", [("r0", "new"), ("r1", "new"), ("r2", "new")])
        assert [path.name for path in opened.room.settings.dags_dir.glob("*.yaml")] == ["new.yaml"]
        await opened.until("SELECT type FROM events WHERE stream LIKE 'rename:%' ORDER BY seq DESC LIMIT 1", [("DagRenamed",)])


async def test_runs_made_after_the_order_keep_their_name(tmp_path: Path) -> None:
    async with open_room(tmp_path, clock=0) as opened:
        write_file(opened.room.settings.dags_dir / "old.yaml", NOOP)
        await opened.start("old", "before")
        await opened.ended(1)
        await give_order(opened)
        await opened.start("old", "after")
        await opened.ended(2)
    async with open_room(tmp_path, clock=4) as opened:
        await opened.until("SELECT alias, name FROM runs ORDER BY alias", [("after", "old"), ("before", "new")])


async def test_a_file_that_cannot_be_moved_leaves_all_as_it_was(tmp_path: Path) -> None:
    async with open_room(tmp_path, clock=0) as opened:
        write_file(opened.room.settings.dags_dir / "old.yaml", NOOP)
        await opened.start("old", "r")
        await opened.ended(1)
        await give_order(opened)
        write_file(opened.room.settings.dags_dir / "new.yaml", NOOP)
    async with open_room(tmp_path, clock=4) as opened:
        await opened.until("SELECT type FROM events WHERE stream LIKE 'rename:%' ORDER BY seq DESC LIMIT 1", [("RenameFailed",)])
        assert await opened.names() == [("r", "old")]
        assert (opened.room.settings.dags_dir / "old.yaml").exists()


async def test_an_active_run_and_a_second_rename_refuse(tmp_path: Path) -> None:
    async with open_room(tmp_path, clock=0) as opened:
        write_file(opened.room.settings.dags_dir / "old.yaml", "steps:\n  - type: hitl\n    config: {prompt: ok?}\n")
        await opened.start("old", "r")
        with pytest.raises(Refused) as caught:
            await give_order(opened)
        assert caught.value.code == "not_running"
    async with open_room(tmp_path / "other", clock=0) as opened:
        await give_order(opened)
        with pytest.raises(AstrariumError, match="being renamed"):
            await give_order(opened)


async def test_a_renamed_run_can_be_retried_and_keeps_its_id_for_itself(tmp_path: Path) -> None:
    async with open_room(tmp_path, clock=4) as opened:
        write_file(opened.room.settings.dags_dir / "old.yaml", NOOP)
        await opened.start("old", "r")
        await opened.ended(1)
        await give_order(opened)
        await opened.until("SELECT name FROM runs", [("new",)])
        with pytest.raises(Refused, match="exists already"):
            await opened.start("new", "r")
        write_file(opened.room.settings.dags_dir / "old.yaml", NOOP)
        await opened.start("old", "r")
        await opened.ended(2)
        held = await opened.engine.store.read("SELECT name FROM slots ORDER BY name")
        assert [name for (name,) in held if name.startswith("run-id/")] == ["run-id/dags/new/r", "run-id/dags/old/r"]
