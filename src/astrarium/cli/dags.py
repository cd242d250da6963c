"""`astrarium dags`: what lies in the DAG folder."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from ..config import Settings
from ..errors import Unavailable
from ..surfaces.dags.catalog import Entry
from .definition import open_catalog
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, examples, new_app, print_json, settings_of
from .screen import show_rows
from .source import open_source
from .view import RunView, local_time, shown_time

APP = new_app()
COLUMNS = ("name", "file", "steps", "schedule", "status", "last run")
EXAMPLES = examples("astrarium dags", "astrarium dags report", "astrarium dags --dags-dir ./examples/dags --json")


@APP.command(epilog=EXAMPLES)
def dags(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only DAGs with this in their name.")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """List the DAGs of the DAG folder and how their newest runs stand.

    A file that does not load is listed as `invalid`; `astrarium validate FILE` says why. To a pipe: columns separated by tabs.
    """
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir, database_url=database_url)
    entries = [entry for entry in open_catalog(settings).entries() if name.lower() in entry.name.lower()]
    latest = asyncio.run(_latest(settings))
    if as_json:
        print_json([_document(entry, latest.get(entry.name)) for entry in entries])
        return 0
    show_rows(
        COLUMNS,
        [_row(entry, latest.get(entry.name)) for entry in entries],
        f"no DAG files in {settings.dags_dir}; put one there, or name another folder with --dags-dir",
    )
    return 0


async def _latest(settings: Settings) -> dict[str, RunView]:
    """The newest run of each DAG; none when there is no database yet."""
    try:
        async with open_source(settings) as source:
            return await source.newest()
    except Unavailable as error:
        if error.code == "no_database":
            return {}
        raise


def _row(entry: Entry, run: RunView | None) -> tuple[Any, ...]:
    if entry.dag is None:
        return entry.name, entry.file_name, "", "", "invalid", str(entry.problems[0])
    schedule = " | ".join(entry.dag.schedule.start)
    last = (run.status, local_time(run.started_at or run.created_at)) if run else ("", "")
    return entry.name, entry.file_name, _steps(entry), schedule, *last


def _steps(entry: Entry) -> int:
    return sum(node.phase == "main" for node in entry.dag.graph.nodes) if entry.dag else 0


def _document(entry: Entry, run: RunView | None) -> dict[str, Any]:
    document: dict[str, Any] = {"name": entry.name, "file": str(entry.path), "valid": entry.dag is not None}
    document["problems"] = list(entry.problems)
    if entry.dag is not None:
        dag = entry.dag
        document |= {"description": dag.description, "tags": list(dag.tags), "steps": _steps(entry), "params": dag.params_default}
        document["schedule"] = dag.schedule
    document["latest"] = {"id": run.id, "status": run.status, "started_at": shown_time(run.started_at)} if run else None
    return document
