"""Search over 100,000 registered tasks, over HTTP: by name, by one parameter, by status with true totals, and what is suggested."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvloop

from .builds import BATCH, Connection, connect, new_build, reading_ms
from .report import Figure, figure
from .server import Server

NAMES, SEEDS = 50, 1000
NAME_MS, PARAM_MS, STATUS_MS = 5.0, 10.0, 20.0
QUESTIONS: dict[str, tuple[float | None, str]] = {
    "by name": (NAME_MS, "filter=task_name:name-7"),
    "by a value of a parameter": (PARAM_MS, "filter=param.seed:77"),
    "by a value half of them have": (PARAM_MS, "filter=param.optimizer.name:adam"),
    "by a narrow range of a parameter": (PARAM_MS, "filter=param.rate:%3E:0.999"),
    "by a range most are in": (None, "filter=param.rate:%3E:0.1"),
    "by status, nine of ten": (STATUS_MS, "filter=status:completed"),
    "by status, one of ten": (STATUS_MS, "filter=status:pending"),
    "by status and parameter": (STATUS_MS, "filter=status:completed,param.seed:77"),
    "by a part of the name": (None, "q=name-7"),
    "the 1000th page by status": (STATUS_MS, "filter=status:completed&page=1000"),
}
SUGGESTIONS = {"keys": "keys", "values of a parameter": "values?key=param.optimizer.name", "columns": "columns"}


async def fill(server: Server, tasks: int) -> None:
    """Register so many tasks in bulk; nine of ten are completed."""
    chance = random.Random(1)
    connection = await connect(server)
    for start in range(0, tasks, BATCH):
        build = await new_build(server)
        part = [_task(number, chance) for number in range(start, min(start + BATCH, tasks))]
        await connection.ask("POST", f"/builds/{build}/tasks/bulk?id_only=true", json.dumps({"tasks": part}).encode())
        await _complete(connection, build, [task["task_id"] for task in part if chance.random() < 0.9])
    connection.close()


def _task(number: int, chance: random.Random) -> dict[str, Any]:
    data = {
        "version": "", "rate": chance.random(), "seed": number % SEEDS, "optimizer": {"name": chance.choice(["adam", "sgd"])},
    }  # fmt: skip
    return {"task_id": f"t-{number:06}", "task_name": f"name-{number % NAMES}", "task_namespace": "bench", "task_data": data}


async def _complete(connection: Connection, build: str, ids: list[str]) -> None:
    for id_ in ids:
        await connection.ask("POST", f"/builds/{build}/tasks/{id_}/complete")


async def _measure(server: Server, tasks: int, times: int) -> list[Figure]:
    await fill(server, tasks)
    made = []
    for name, (most, query) in QUESTIONS.items():
        took, size = await reading_ms(server, f"/tasks/search?{query}", times)
        made.append(figure(f"search of {tasks:,} tasks: {name}", "ms", took, most=most, notes={"bytes": size}))
    for name, path in SUGGESTIONS.items():
        took, _ = await reading_ms(server, f"/tasks/search/{quote(path, safe='?=/')}", times)
        made.append(figure(f"search of {tasks:,} tasks: suggested {name}", "ms", took))
    return made


def measure(folder: Path, quick: bool) -> list[Figure]:
    tasks, times = (20_000, 7) if quick else (100_000, 15)
    with tempfile.TemporaryDirectory(dir=folder, prefix="search-") as place, Server(Path(place)) as server:
        return uvloop.run(_measure(server, tasks, times))
