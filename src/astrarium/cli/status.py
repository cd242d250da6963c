"""`astrarium status`: one run with its steps."""

from __future__ import annotations

import asyncio
import importlib

from ..config import Settings
from .follow import last_lines, log_files
from .option import AsJson, DatabaseUrl, DataDir, RunReference, examples, new_app, print_json, settings_of
from .screen import at_terminal
from .source import open_source
from .tree import now, run_tree
from .view import RunView, as_document, duration, local_time

APP = new_app()
EXAMPLES = examples(
    "astrarium status latest",
    "astrarium status report            (the newest run of the DAG `report`)",
    "astrarium status 0198f3 --json | jq '.steps[] | select(.status == \"failed\")'",
)


@APP.command(epilog=EXAMPLES)
def status(
    reference: RunReference = "latest",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Show how one run stands, step by step.

    To a pipe: a line `run`, for a run that waits a line `waiting` that says what for, then one line a step: name, status, duration,
    exit code, error, separated by tabs.
    """
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    run = asyncio.run(_find(settings, reference))
    if as_json:
        print_json(as_document(run))
    elif at_terminal():
        _show(run, settings)
    else:
        _print(run)
    return 0


async def _find(settings: Settings, reference: str) -> RunView:
    async with open_source(settings) as source:
        run = await source.details(await source.find(reference), depth=2)
        await source.explain([run])
        return run


def _print(run: RunView) -> None:
    at = now()
    print(f"run\t{run.id}\t{run.name}\t{run.status}\t{duration(run.started_at, run.ended_at, at)}\t{run.params}")
    if run.waiting_for:
        print(f"waiting\t{run.waiting_for}")
    for step in run.steps:
        code = "" if step.exit_code is None else step.exit_code
        took = duration(step.started_at, step.ended_at, at)
        print(f"{step.name}\t{step.status}\t{took}\t{code}\t{' '.join(step.error.split())}")


def _show(run: RunView, settings: Settings) -> None:
    console = importlib.import_module("rich.console").Console()
    logs = settings.data_dir / "logs"
    preview = {step.name: last_lines(log_files(run, step, logs)[0]) for step in run.steps if step.tries}
    console.print(run_tree(run, preview, now()), no_wrap=True, overflow="ellipsis")
    facts = {"waiting": run.waiting_for.removeprefix("waits "), "started": local_time(run.started_at)}
    facts |= {"ended": local_time(run.ended_at), "params": run.params}
    facts |= {"round": str(run.round) if run.round > 1 else "", "trigger": run.trigger}
    for name, value in facts.items():
        if value:
            console.print(f"   {name}: {value}", style="dim", highlight=False, markup=False)
