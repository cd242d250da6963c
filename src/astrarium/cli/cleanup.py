"""`astrarium cleanup`: removes old runs of a DAG, by the server or by a worker of our own."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from ..config import Settings
from ..errors import Invalid, NotFound
from ..surfaces.dags.catalog import open_catalog, strip_suffix
from ..surfaces.dags.room import CLOCK_PLACE
from ..surfaces.dags.work.retention import CLEANED_AT_ONCE, Keep, Removed, RemoveRest, Retention
from ..worker import Worker, load_steps
from .alone import ACTOR, HOME, open_worker
from .link import Server, ask, live_server, segment
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, examples, new_app, print_json, settings_of

APP = new_app()
EXAMPLES = examples(
    "astrarium cleanup report --dry-run",
    "astrarium cleanup report --retention-days 7 -y",
    "astrarium cleanup report --keep-runs 100 -y",
)


@APP.command(epilog=EXAMPLES)
def cleanup(
    dag: Annotated[str, typer.Argument(metavar="DAG", help="The DAG's name, or its file in the DAG folder.")],
    days: Annotated[
        int | None, typer.Option("--retention-days", min=0, max=1_000_000, metavar="N", help="Keep runs of the last N days (0).")
    ] = None,
    runs: Annotated[
        int | None, typer.Option("--keep-runs", min=1, max=1_000_000, metavar="N", help="Keep the newest N runs.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Remove ended runs of a DAG: their history, their logs, the runs below them.

    Active runs and the newest run always stay. Without numbers all others go. Works with a running server and without one.
    """
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir, database_url=database_url)
    keep = Keep(-1 if days is None and runs is not None else days or 0, runs or 0)
    if not dry_run and not yes and not _agreed(dag, keep):
        print("nothing was removed", file=sys.stderr)
        return 1
    server = live_server(settings)
    done = _clean_there(server, dag, keep, dry_run) if server else asyncio.run(_clean_here(settings, dag, keep, dry_run))
    if as_json:
        print_json({"removed": done.runs, "dryRun": dry_run, "dagRunIds": done.aliases})
        return 0
    if dry_run:
        print("\n".join(done.aliases), end="\n" if done.aliases else "")
    print(f"{dag}: {done.runs} run{'' if done.runs == 1 else 's'} {'would go' if dry_run else 'removed'}", file=sys.stderr)
    return 0


def _agreed(dag: str, keep: Keep) -> bool:
    """Ask on a terminal; elsewhere nobody can answer."""
    if not sys.stdin.isatty():
        raise Invalid("cleanup asks before it removes anything, and nobody can answer here", hint="add -y", code="usage")
    parts = [f"of the last {keep.days} days" if keep.days > 0 else "", f"the newest {keep.runs}" if keep.runs else ""]
    kept = " and ".join(part for part in parts if part) or "the newest one"
    return typer.confirm(f"Remove the runs of {dag}, except {kept}?")


def _clean_there(server: Server, dag: str, keep: Keep, dry: bool) -> Removed:
    """As many requests as it takes; a dry one tells of the first thousand."""
    body: dict[str, Any] = {"dryRun": dry}
    if keep.days >= 0:
        body["retentionDays"] = keep.days
    if keep.runs:
        body["keepRuns"] = keep.runs
    count, aliases = 0, list[str]()
    while True:
        told = ask(server, "POST", f"/dags/{segment(dag)}/cleanup", body)
        count += told["removed"]
        aliases += told["dagRunIds"]
        if dry or not told["more"] or not told["removed"]:
            return Removed(count, aliases, told["more"])


async def _clean_here(settings: Settings, dag: str, keep: Keep, dry: bool) -> Removed:
    async with open_worker(settings) as worker:
        retention = Retention(settings, CLOCK_PLACE)
        retention.bind(worker.engine)
        name = _name_of(settings, dag)
        await retention.keep(HOME.workspace, name)  # a DAG without runs is most likely a wrong name
        done = await retention.clean(HOME, name, keep, most=CLEANED_AT_ONCE, dry=dry, actor=ACTOR)
        count, aliases = done.runs, list(done.aliases)
        while done.more and done.runs and not dry:
            done = await retention.clean(HOME, name, keep, most=CLEANED_AT_ONCE, actor=ACTOR)
            count += done.runs
            aliases += done.aliases
        await _files_gone(worker)
        return Removed(count, aliases, done.more)


def _name_of(settings: Settings, dag: str) -> str:
    try:
        return open_catalog(settings, frozenset(load_steps())).find(dag).name
    except NotFound:
        return strip_suffix(dag)


async def _files_gone(worker: Worker) -> None:
    """Until no removed run's files are owed."""
    while True:
        changed = asyncio.ensure_future(worker.engine.tail.changed())
        left = await worker.store.read("SELECT count(*) FROM jobs WHERE kind = ? AND owner = ?", (RemoveRest.name, worker.id))
        if not left[0][0]:
            changed.cancel()
            return
        await changed
