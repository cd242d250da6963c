"""A server's worker and its schedules, without HTTP and with a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from astrarium import worker as worker_module
from astrarium.config import Settings
from astrarium.kernel.clock import Clock
from astrarium.kernel.machine import Registry
from astrarium.kernel.types import Command, Scope
from astrarium.runs.message import AnswerAsk, StopRun
from astrarium.surfaces.dags import room as dags
from astrarium.worker import Worker, load_steps

SCOPE = Scope("personal", "local")
SECOND = 1_000_000
MINUTE = 60 * SECOND
DEADLINE_S = 20.0


class House:
    """One server over `folder/data` and `folder/dags`."""

    def __init__(self, folder: Path, clock: Any, worker: Worker, room: dags.Room) -> None:
        self.folder = folder
        self.dags = folder / "dags"
        self.clock = clock
        self.worker = worker
        self.engine = worker.engine
        self.room = room

    def write(self, name: str, text: str) -> None:
        (self.dags / name).parent.mkdir(parents=True, exist_ok=True)
        (self.dags / name).write_text(text)

    async def until(self, what: Callable[[], Awaitable[Any]]) -> Any:
        """What `what` gives once that is true; asked again after each commit, and now and then for what is no commit."""
        loop = asyncio.get_running_loop()
        end = loop.time() + DEADLINE_S
        while True:
            changed = asyncio.ensure_future(self.engine.tail.changed())
            found = await what()
            if found:
                changed.cancel()
                return found
            assert loop.time() < end, f"not within {DEADLINE_S} s: {what}"
            await asyncio.wait([changed], timeout=0.05)
            changed.cancel()

    async def schedule(self, name: str) -> dict[str, Any] | None:
        columns = "status suspended next_at next_start backlog last_slot last_act last_decision last_why last_run trouble"
        sql = f"SELECT {', '.join(columns.split())} FROM schedules WHERE name = ?"
        rows = await self.engine.store.read(sql, (name,))
        return dict(zip(columns.split(), rows[0], strict=True)) if rows else None

    async def is_(self, name: str, **wanted: Any) -> dict[str, Any]:
        """The row of a schedule once it is so."""

        async def there() -> dict[str, Any] | None:
            row = await self.schedule(name)
            return row if row is not None and all(row[key] == value for key, value in wanted.items()) else None

        found: dict[str, Any] = await self.until(there)
        return found

    async def turn_to(self, name: str, at: int) -> dict[str, Any]:
        """Turn the clock, and wait until the schedule has decided everything up to then."""
        self.clock.turn_to(at)

        async def there() -> dict[str, Any] | None:
            row = await self.schedule(name)
            return row if row is not None and row["next_at"] > at and not row["backlog"] else None

        found: dict[str, Any] = await self.until(there)
        return found

    async def events(self, name: str) -> list[Any]:
        return [event.body for event in await self.engine.tail.read_stream(f"schedule:{name}", limit=10_000)]

    async def runs(self, name: str) -> list[dict[str, Any]]:
        """The runs of a DAG, oldest first, with the slot each belongs to."""
        columns = ("id", "status", "outcome", "reason", "trigger", "params", "rerun_of", "queue", "labels", "created_at")
        sql = f"SELECT {', '.join(columns)} FROM runs WHERE name = ? ORDER BY created_at, id"
        found = [dict(zip(columns, row, strict=True)) for row in await self.engine.store.read(sql, (name,))]
        return [{**row, "slot": json.loads(row["labels"]).get("slot")} for row in found]

    async def statuses(self, name: str, *wanted: str) -> list[dict[str, Any]]:
        """The runs of a DAG once their statuses (an ended one's outcome) are these."""

        async def there() -> bool:
            return [row["outcome"] or row["status"] for row in await self.runs(name)] == list(wanted)

        await self.until(there)
        return await self.runs(name)

    async def stop(self, run: str) -> None:
        await self.engine.submit(Command(f"run:{run}", StopRun(), SCOPE))

    async def answer(self, run: str, order: AnswerAsk) -> None:
        await self.engine.submit(Command(f"run:{run}", order, SCOPE))

    async def tell(self, name: str, order: Any) -> None:
        await self.engine.submit(Command(f"schedule:{name}", order, SCOPE))


@asynccontextmanager
async def open_house(folder: Path, clock: Clock, places: int = dags.CLOCK_PLACES, **settings: Any) -> AsyncIterator[House]:
    """Open a server's worker and room with `clock` as its clock; both are closed without waiting for what runs. Without `places` it
    neither watches files nor carries out what schedules owe, like a run without a server."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    made = Settings(**{
        "data_dir": folder / "data", "dags_dir": folder / "dags", "synchronous": "normal", "time_zone": "UTC",
        "default_shell": "sh", **settings,
    })  # fmt: skip
    registry = Registry()
    room = dags.Room(made, load_steps())
    room.register(registry)
    kept = worker_module.SystemClock
    worker_module.SystemClock = lambda: clock  # type: ignore[misc, assignment]
    try:
        limits = {dags.CLOCK_PLACE: places}
        worker = await Worker.open(made, definitions=room.definitions, registry=registry, places=limits)
    finally:
        worker_module.SystemClock = kept  # type: ignore[misc]
    try:
        await room.open(worker.engine)
        yield House(folder, clock, worker, room)
    finally:
        await room.close()
        await worker.close(0.0)
