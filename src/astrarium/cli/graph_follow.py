"""Following a run of a graph to where it stops: to its end, or to a question."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from ..config import Settings
from ..kernel.engine import Engine
from ..surfaces.graphs.views.query import RunRow
from .alone import stopping
from .graph_place import Here, Place, read_row, reading_engine, summary_of
from .graph_prompt import ask_person
from .graph_show import say, show_head, show_prompt, step_line
from .option import print_json
from .view import duration

DONE, FAILED, WAITS = 0, 1, 2
STOPS = ("awaiting-input", "paused")
STEPS = (
    "SELECT round, no, place, branch, node, outcome, started_at, ended_at, error FROM steps"
    " WHERE run = ? AND status = 'done' AND inherited = 0 AND ended_at >= ? ORDER BY ended_at, round, no"
)


class Teller:
    """Tells each step once, as it ends. `say` is what a stop has to say."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._seen: set[tuple[int, int]] = set()
        self._last = 0

    async def look(self, place: Place, run: str) -> None:
        for round_no, no, at, branch, node, outcome, began, ended, error in await place.read(STEPS, (run, self._last)):
            self._last = max(self._last, ended)
            if (round_no, no) in self._seen:
                continue
            self._seen.add((round_no, no))
            if not self.quiet:
                took = duration(began, ended, ended) if began else ""
                step_line(at, f"{node}/{branch}" if branch else node, outcome, took, error=error)

    def say(self, text: str) -> None:
        print(text, file=sys.stderr)

    def update(self, run: Any, preview: Any) -> None:
        """Nothing: steps are told by `look`."""

    def finish(self, run: Any, preview: Any) -> None:
        """Nothing."""


async def settled(place: Place, run: str, teller: Teller) -> RunRow:
    """The run once it has ended, waits for a person, or rests."""
    while True:
        changed = asyncio.ensure_future(place.wait())  # from before the look on: what happens meanwhile is not missed
        try:
            row = await read_row(place.read, run)
            await teller.look(place, run)
            if row.status in ("ended", "paused") or (row.status == "waiting" and row.waiting == "person"):
                return row
            await changed
        finally:
            changed.cancel()


def engine_of(place: Place, settings: Settings) -> Engine:
    return place.worker.engine if isinstance(place, Here) else reading_engine(place.read, settings)


async def drive(place: Place, settings: Settings, run: str, *, quiet: bool, as_json: bool, ask: bool) -> int:
    """Follow a run; its questions are put to who sits there, with `ask`. Prints how it stands at last; the exit code."""
    teller = Teller(quiet or as_json)
    row = await read_row(place.read, run)

    async def stop(hurry: bool) -> None:
        await place.stop(await read_row(place.read, run), hurry)

    while True:
        with stopping(stop, teller) as told:
            row = await settled(place, run, teller)
        summary = await summary_of(engine_of(place, settings), run)
        if told or not ask or summary["status"] != "awaiting-input":
            break
        response = await ask_person(summary["awaiting"])
        await place.order("respond", row, {"response": response})
    conclude(summary, as_json)
    if told:
        return 128 + told[0]
    return code_of(str(summary["status"]))


def code_of(status: str) -> int:
    """0 it is done, 2 it waits for somebody, 1 else."""
    return DONE if status == "done" else WAITS if status in STOPS else FAILED


def conclude(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    if summary.get("awaiting"):
        show_prompt(summary["awaiting"], summary["run_id"])
    show_head(summary)
    if summary["status"] == "done":
        for name, value in summary["state"].items():
            say(f"  {name} = {shown(value)}")
    print(f"run_id={summary['run_id']} status={summary['status']}")


def shown(value: Any) -> str:
    return value if isinstance(value, str) and "\n" not in value and len(value) < 200 else repr(value)[:200]
