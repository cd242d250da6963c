"""What the steps of a run did beside their results: the calls of tools their tries recorded.

The records lie beside the logs of the tries (`runs.work.tool.record`). A step that a fork took over has those of the run it ended in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ...kernel.engine import Engine
from ...store.log import run_folder
from ..state import RunState
from ..work.tool.record import read_records

CALL_ID = re.compile(r"call-(\d+)-(\d+)-(\d+)-(\d+)")
"""Round, step number, try and place in the try, as `ToolUse.next_call` writes them."""


class Effect(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call of a tool. `ok` is None for one that never came back."""

    tool: str
    args: Any = None
    ok: bool | None = None
    result: Any = None
    error: str = ""


class Place(NamedTuple):
    """The folder a run's tries recorded in, as its id and the time it was made."""

    run: str
    created_at: int


Effects = dict[tuple[int, int], tuple[Effect, ...]]
"""By the round and number of the step, in the order they were made."""


async def effects_of(engine: Engine, logs: Path, source: RunState) -> dict[int, tuple[Effect, ...]]:
    """What each step of a run did, by the step's number. `logs` is the folder of all logs."""
    own = Place(source.run, source.created_at)
    wanted: dict[Place, set[tuple[int, int]]] = {}
    where: dict[int, tuple[Place, tuple[int, int]]] = {}
    for step in source.steps.values():
        origin = step.origin
        place = Place(origin.run, origin.created_at) if origin is not None else own
        key = (origin.round if origin is not None else step.round, step.no)
        where[step.no] = place, key
        wanted.setdefault(place, set()).add(key)
    found = {
        place: await asyncio.to_thread(read_effects, run_folder(logs, place.run, place.created_at), keys)
        for place, keys in wanted.items()
    }
    return {no: made for no, (place, key) in where.items() if (made := found[place].get(key))}


def read_effects(folder: Path, wanted: Collection[tuple[int, int]]) -> Effects:
    """The calls that the tries of these steps recorded, every try's."""
    called: dict[tuple[int, ...], Effect] = {}
    for record, id_ in _told(folder):
        if record["type"] == "tool_call":
            called[id_] = Effect(f"{record.get('namespace', '')}.{record.get('tool_name', '')}", record.get("args"))
        elif id_ in called:
            error = str(record.get("error") or "")
            called[id_] = msgspec.structs.replace(
                called[id_], ok=bool(record.get("ok")), result=record.get("result"), error=error
            )
    made: dict[tuple[int, int], list[Effect]] = {}
    for id_ in sorted(called):
        if id_[:2] in wanted:
            made.setdefault((id_[0], id_[1]), []).append(called[id_])
    return {key: tuple(effects) for key, effects in made.items()}


def _told(folder: Path) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:
    """The records of calls in a folder, each with its place."""
    for path in folder.glob("*.ev"):
        for record in read_records(path):
            id_ = CALL_ID.fullmatch(str(record.get("call_id", "")))
            if id_ is not None and record.get("type") in ("tool_call", "tool_result"):
                yield record, tuple(int(part) for part in id_.groups())
