"""`astrarium stop`: asks the server to stop a run."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ..config import Settings
from ..errors import Refused, Unavailable
from .follow import follow
from .link import ask, live_server, segment
from .option import AsJson, DatabaseUrl, DataDir, RunReference, examples, new_app, print_json, settings_of
from .source import open_source
from .tree import choose_show
from .view import RunView, as_document

APP = new_app()
EXAMPLES = examples("astrarium stop latest", "astrarium stop report", "astrarium stop 0198f3 --wait")


@APP.command(epilog=EXAMPLES)
def stop(
    reference: RunReference,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the run has ended.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Stop a run: its processes get a signal, what has not begun is not begun, its handlers for that run.

    Asks the server that works on the data folder. A run of `astrarium run` without a server is stopped with Ctrl-C there.
    """
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    run = asyncio.run(_stop(settings, reference, wait, as_json))
    if as_json:
        print_json(as_document(run))
    elif not wait:
        print(f"{run.name} {run.id}: stopping")
    return 0


async def _stop(settings: Settings, reference: str, wait: bool, as_json: bool) -> RunView:
    async with open_source(settings) as source:
        run = await source.find(reference)
        if run.ended:
            raise Refused(f"run {run.id} of {run.name} has ended already: {run.status}")
        ask_to_stop(settings, run)
        if wait:
            return await follow(source, run, settings.data_dir / "logs", choose_show(as_json))
        return await source.details(run)


def ask_to_stop(settings: Settings, run: RunView) -> None:
    """Let the server begin to stop a run. Raises `Unavailable` where none works on the data folder."""
    server = live_server(settings)
    if server is None:
        raise Unavailable(
            f"run {run.id} of {run.name} is {run.status}, but no server works on {settings.data_dir}",
            hint="press Ctrl-C where its `astrarium run` is; if that is gone, `astrarium server` takes the run up again",
        )
    ask(server, "POST", f"/dag-runs/{segment(run.name)}/{segment(run.id)}/stop")
