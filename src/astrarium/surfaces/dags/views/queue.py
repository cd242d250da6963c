"""Queues as readers see them, and for each run that waits a sentence that says what for.

A queue is the slot `queue/<name>`: who runs holds a place in it, who waits stands in its line. Everything here is asked once for all
runs of a page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from ....kernel.engine import Engine
from ....kernel.types import Job, Scope
from ....runs.birth import queue_slot
from ....runs.ports import Ask
from ....runs.row import RUN_COLUMNS
from .. import wire
from .query import MOST_RUNS, RunRow, StepRow
from .status import marks

Read = Callable[[str, Sequence[Any]], Awaitable[list[tuple[Any, ...]]]]
"""(SQL with `?`, values) → rows."""
Summarize = Callable[[RunRow, str], wire.run.RunSummary]

GLOBAL, OWN = "global", "dag-based"
SHOWN_HOLDERS = 3
"""So many runs are named as those who hold the places of a queue."""
FEW = 4
STREAM = "run:"
PROMPT_CHARS = 80
_ask = msgspec.json.Decoder(Ask)

OF_QUEUES = "workspace = ? AND name IN ({})"
LIVE_QUEUES = "SELECT DISTINCT queue FROM runs WHERE workspace = ? AND status <> 'ended' AND surface = ? AND queue <> ''"
COUNTS = (
    "SELECT name, sum(CASE WHEN state LIKE 'held:%' THEN 1 ELSE 0 END), sum(CASE WHEN state LIKE 'waiting:%' THEN 1 ELSE 0 END),"
    f" min(CASE WHEN holder = '' THEN state END), min(state) FROM slots WHERE {OF_QUEUES} GROUP BY name"
)
FIRST_RUNS = (
    f"SELECT slot, kind, {RUN_COLUMNS} FROM (SELECT name AS slot, holder, substr(state, 1, 4) AS kind, row_number() OVER ("
    "PARTITION BY name, substr(state, 1, 4) ORDER BY fence, priority DESC, at, number) AS nth"
    f" FROM slots WHERE {OF_QUEUES} AND holder <> '') places JOIN runs ON runs.id = substr(places.holder, {len(STREAM) + 1})"
    " WHERE nth <= ? ORDER BY slot, nth"
)
HOLDERS = (
    "SELECT slot, name, alias, held FROM (SELECT name AS slot, holder, row_number() OVER (PARTITION BY name ORDER BY fence) AS nth,"
    f" count(*) OVER (PARTITION BY name) AS held FROM slots WHERE {OF_QUEUES} AND state LIKE 'held:%') places"
    f" JOIN runs ON runs.id = substr(places.holder, {len(STREAM) + 1}) WHERE nth <= {SHOWN_HOLDERS} ORDER BY slot, nth"
)
LINES = (
    "SELECT holder, state, before FROM (SELECT name, holder, state, row_number() OVER (PARTITION BY name"
    f" ORDER BY priority DESC, at, number) - 1 AS before FROM slots WHERE {OF_QUEUES} AND state LIKE 'waiting:%') line"
    " WHERE holder IN ({})"
)
FEW_IN_LINE = (
    "SELECT holder, state, (SELECT count(*) FROM slots b WHERE b.workspace = w.workspace AND b.name = w.name AND b.state LIKE 'waiting:%'"
    " AND (b.priority > w.priority OR b.priority = w.priority AND (b.at < w.at OR b.at = w.at AND b.number < w.number)))"
    f" FROM slots w WHERE {OF_QUEUES} AND state LIKE 'waiting:%' AND holder IN ({{}})"
)
"""`LINES` for a few runs: counting costs less than putting a long line in order."""
LIMITS = f"SELECT name, state FROM slots WHERE {OF_QUEUES} AND holder = ''"


class Line(NamedTuple):
    """Who holds the places of one queue: how many, and the first few by name."""

    held: int
    first: list[str]


def limit_in(state: str) -> int:
    """The limit a row of a slot names; 0 = none."""
    return int(state.partition(":")[2])


# -- why a run waits ----------------------------------------------------------------------------------------------------


async def waiting_for(read: Read, rows: Iterable[RunRow]) -> dict[str, str]:
    """A sentence for each of these runs that waits in a queue or for a person, by the run's inner id. The number of queries does
    not depend on the number of runs."""
    rows = list(rows)
    queued = [row for row in rows if row.status == "queued" and row.queue]
    asking = [row for row in rows if row.status == "waiting"]
    told = await _in_queues(read, queued) if queued else {}
    return told | await _for_people(read, asking) if asking else told


async def waiting_of(read: Read, runs: Sequence[str]) -> dict[str, str]:
    """`waiting_for` by inner ids."""
    found = await read(f"SELECT {RUN_COLUMNS} FROM runs WHERE id IN ({marks(runs)})", list(runs)) if runs else []
    return await waiting_for(read, [RunRow(*row) for row in found])


async def _in_queues(read: Read, rows: list[RunRow]) -> dict[str, str]:
    told: dict[str, str] = {}
    for workspace in {row.workspace for row in rows}:
        own = [row for row in rows if row.workspace == workspace]
        told |= await _in_lines(read, workspace, own)
    return told


async def _in_lines(read: Read, workspace: str, rows: list[RunRow]) -> dict[str, str]:
    slots = list({queue_slot(row.queue) for row in rows})
    of_queues = [workspace, *slots]
    holders = [STREAM + row.id for row in rows]
    lines_of = FEW_IN_LINE if len(rows) <= FEW else LINES
    lines: dict[str, Line] = {}
    for slot, name, alias, held in await read(HOLDERS.format(marks(slots)), of_queues):
        lines.setdefault(slot, Line(held, [])).first.append(f"{name}/{alias}")
    limits = {slot: limit_in(state) for slot, state in await read(LIMITS.format(marks(slots)), of_queues)}
    places = {
        holder: (limit_in(state), before)
        for holder, state, before in await read(lines_of.format(marks(slots), marks(holders)), [*of_queues, *holders])
    }
    told = {}
    for row in rows:
        slot = queue_slot(row.queue)
        limit, before = places.get(STREAM + row.id, (0, -1))
        told[row.id] = in_line(row.queue, lines.get(slot, Line(0, [])), limits.get(slot, limit), before)
    return told


def in_line(queue: str, line: Line, limit: int, before: int) -> str:
    """What a run in a queue waits for; `before` it are so many others, -1 = it is not in line any more."""
    if before < 0:
        return f"has a place in queue {queue} and begins"
    more = f" and {line.held - len(line.first)} more" if line.held > len(line.first) else ""
    turn = "it is next" if not before else "1 run is before it" if before == 1 else f"{before} runs are before it"
    places = "1 place" if limit == 1 else f"{limit} places"
    return f"waits in queue {queue}: {line.held} of {places} taken by {', '.join(line.first)}{more}; {turn}"


async def _for_people(read: Read, rows: list[RunRow]) -> dict[str, str]:
    sql = f"SELECT run, node, ask FROM steps WHERE run IN ({marks(rows)}) AND status = 'asking' ORDER BY run, no"
    asked: dict[str, list[str]] = {}
    for run, node, ask in await read(sql, [row.id for row in rows]):
        prompt = " ".join(_ask.decode(ask).prompt.split())[:PROMPT_CHARS]
        asked.setdefault(run, []).append(f"step {node} asks {prompt!r}" if prompt else f"step {node} asks")
    return {run: f"waits for a person: {', '.join(steps)}" for run, steps in asked.items()}


async def held_up(engine: Engine, row: RunRow, steps: Mapping[int, StepRow]) -> str:
    """What a run waits for that has begun, and of which nothing executes: a free place of this server, or a time; empty when it does
    not wait."""
    if row.status != "running" or any(step.status in ("running", "parent") for step in steps.values()):
        return ""
    sql = "SELECT id, kind, stream, not_before, body, owner FROM jobs WHERE id > ? AND id < ? AND kind = 'run_step' ORDER BY not_before"
    for id_, kind, stream, not_before, body, owner in await engine.store.read(sql, [f"{row.id}/", f"{row.id}0"]):
        no = msgspec.json.decode(body)["no"]
        node = steps[no].node if no in steps else f"#{no}"
        if not_before > engine.clock.now():
            at = datetime.fromtimestamp(not_before / 1_000_000, UTC).astimezone().isoformat(timespec="seconds")
            return f"waits for a time: step {node} goes on at {at}"
        job = Job(id_, kind, stream, msgspec.json.decode(body))
        place = engine.registry.kinds[kind].place(job)
        if owner and place:
            most = engine.jobs.places.get(place, 1)
            return f"waits for a free {place} place: all {most} are taken"
    return ""


# -- the queues -----------------------------------------------------------------------------------------------------------


async def queues(read: Read, scope: Scope, surface: str, limits: Mapping[str, int], shown: Summarize) -> wire.queue.Queues:
    """Every queue of the settings, and every other one with a run in it, by name; of each the first `MOST_RUNS` runs in order."""
    live = await read(LIVE_QUEUES, [scope.workspace, surface])
    names = sorted({*limits, *(row[0] for row in live)})
    slots = [queue_slot(name) for name in names]
    counts: dict[str, tuple[int, int, int]] = {}
    runs: dict[str, list[tuple[str, RunRow]]] = {}
    if slots:
        of_queues = [scope.workspace, *slots]
        for slot, held, waiting, noted, some in await read(COUNTS.format(marks(slots)), of_queues):
            counts[slot] = (held, waiting, limit_in(noted or some))
        for slot, kind, *columns in await read(FIRST_RUNS.format(marks(slots)), [*of_queues, MOST_RUNS]):
            runs.setdefault(slot, []).append((kind, RunRow(*columns)))
    why = await waiting_for(read, [row for each in runs.values() for _, row in each])
    made = []
    for name, slot in zip(names, slots, strict=True):
        held, waiting, limit = counts.get(slot, (0, 0, 0))
        listed = runs.get(slot, ())
        running, queued = (
            [shown(row, why.get(row.id, "")) for kind, row in listed if kind == wanted] for wanted in ("held", "wait")
        )
        most = max(limits.get(name, limit), 0)
        made.append(wire.queue.Queue(name, GLOBAL if name in limits else OWN, running, queued, held, waiting, most))
    return wire.queue.Queues(made, summary_of(made))


def summary_of(made: Sequence[wire.queue.Queue]) -> wire.queue.QueuesSummary:
    """Runs started past the limit count as running, but no more than everything is in use."""
    running, capacity = sum(one.running_count for one in made), sum(one.max_concurrency for one in made)
    used = min(100.0, round(running / capacity * 100, 2)) if capacity else 0.0
    return wire.queue.QueuesSummary(len(made), running, sum(one.queued_count for one in made), capacity, used)
