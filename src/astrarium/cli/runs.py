"""`astrarium runs`: lists of runs."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ..config import Settings
from ..errors import Invalid
from .option import AsJson, DatabaseUrl, DataDir, examples, new_app, print_json, settings_of
from .screen import at_terminal, show_rows
from .source import open_source
from .tree import now
from .view import RunView, as_document, duration, local_time

APP = new_app()
COLUMNS = ("id", "name", "status", "started", "took", "params", "waiting")
STATUSES = (
    "queued", "running", "waiting", "pausing", "paused", "stopping", "succeeded", "partial", "failed", "broken", "cancelled",
    "rejected",
)  # fmt: skip
EXAMPLES = examples(
    "astrarium runs",
    "astrarium runs --name report --status failed --status broken",
    "astrarium runs --limit 1000 | cut -f1,3",
    "astrarium runs --json | jq '.[0]'",
)


@APP.command(epilog=EXAMPLES)
def runs(
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Only DAGs with this in their name.")] = "",
    status: Annotated[
        list[str] | None, typer.Option("--status", metavar="WORD", help="Only runs that stand so; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most runs listed.")] = 50,
    children: Annotated[bool, typer.Option("--children", help="Also runs that were started by steps of others.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """List runs, newest first.

    To a pipe: id, name, status, start, duration, parameters, what it waits for, separated by tabs.
    """
    wrong = [word for word in status or () if word not in STATUSES]
    if wrong:
        raise Invalid(f"no run is `{wrong[0]}`", hint=f"a status is one of {', '.join(STATUSES)}", code="usage")
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    found = asyncio.run(_find(settings, name, status or [], limit, children))
    if as_json:
        print_json([as_document(run) for run in found])
        return 0
    at = now()
    rows = [
        (run.id, run.name, run.status, local_time(run.started_at or run.created_at), _took(run, at), run.params, run.waiting_for)
        for run in found
    ]
    shown = len(COLUMNS) if not at_terminal() or any(run.waiting_for for run in found) else -1  # nobody waits: no empty column
    show_rows(COLUMNS[:shown], [row[:shown] for row in rows], "no runs; `astrarium run FILE` makes one")
    return 0


async def _find(settings: Settings, name: str, statuses: list[str], limit: int, children: bool) -> list[RunView]:
    async with open_source(settings) as source:
        found = await source.runs(name, statuses, limit, children)
        await source.explain(found)
        return found


def _took(run: RunView, at: int) -> str:
    return duration(run.started_at, run.ended_at, at)
