"""`astrarium retry`: the next round of a run that has ended, by the server or by a worker of our own."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ..config import Settings
from ..errors import NotFound, Refused
from .alone import open_worker, reopen_alone, watch_alone
from .link import Server, ask, live_server, segment
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, RunReference, examples, new_app, settings_of
from .run import conclude, watch_there
from .source import Source, open_source
from .tree import choose_show
from .view import RunView

APP = new_app()
EXAMPLES = examples("astrarium retry latest", "astrarium retry report --step fetch", "astrarium retry 0198f3 --json")


@APP.command(epilog=EXAMPLES)
def retry(
    reference: RunReference,
    step: Annotated[str, typer.Option("--step", metavar="STEP", help="Run only this step again.")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Run again what went wrong in a run, and what depends on it; what succeeded keeps its output.

    Uses the definition and the parameters the run began with. Watches the run and ends like `astrarium run`; needs no server.
    """
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir, database_url=database_url)
    server = live_server(settings)
    if server is not None:
        return asyncio.run(_retry_there(settings, server, reference, step, as_json))
    return asyncio.run(_retry_here(settings, reference, step, as_json))


async def _retry_here(settings: Settings, reference: str, step: str, as_json: bool) -> int:
    async with open_source(settings) as source:
        run = await _ended(source, reference)
    async with open_worker(settings) as worker:
        await reopen_alone(worker, run.key, _place(run, step))
        ended, told = await watch_alone(worker, run, choose_show(as_json))
    return conclude(ended, told, as_json)


async def _retry_there(settings: Settings, server: Server, reference: str, step: str, as_json: bool) -> int:
    async with open_source(settings) as source:
        run = await _ended(source, reference)
        _place(run, step)
        body = {"dagRunId": run.id, "stepName": step or None}
        ask(server, "POST", f"/dag-runs/{segment(run.name)}/{segment(run.id)}/retry", body)
        return await watch_there(settings, server, source, run, as_json)


async def _ended(source: Source, reference: str) -> RunView:
    run = await source.details(await source.find(reference))
    if not run.ended:
        raise Refused(f"run {run.id} of {run.name} is still {run.status}", hint="stop it first, or wait for its end")
    return run


def _place(run: RunView, name: str) -> int | None:
    """The place of the named step in the graph; None when no step is named."""
    if not name:
        return None
    for step in run.steps:
        if step.name == name and step.no is not None:
            return step.place
    some = ", ".join(step.name for step in run.steps if step.no is not None)
    raise NotFound(f"run {run.id} of {run.name} never came to a step `{name}`", hint=f"it came to: {some}")
