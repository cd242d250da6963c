"""`astrarium restart`: ends a DAG's newest run and starts it anew with the same parameters."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from ..config import Settings
from ..errors import NotFound
from .definition import compile_file, find_file
from .follow import follow
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, RunReference, examples, new_app, settings_of
from .run import carry_out
from .source import open_source
from .stop import ask_to_stop
from .tree import choose_show
from .view import RunView

APP = new_app()
EXAMPLES = examples("astrarium restart report", "astrarium restart 0198f3")


@APP.command(epilog=EXAMPLES)
def restart(
    reference: RunReference,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Stop a run if it is active, wait as long as its DAG says (`restartWaitSec`), and start a new one with its parameters.

    The new run has a new id and uses the DAG file as it is now. Watches the run and ends like `astrarium run`.
    """
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir, database_url=database_url)
    run = asyncio.run(_ended(settings, reference))
    path = _file_of(run, settings)
    text, compiled = compile_file(path, settings)
    wait_s = float(compiled.dag.meta.get("restartWaitSec", 0))
    if wait_s:
        choose_show(as_json).say(f"waiting {wait_s:g} s before the new run, as the DAG says")
        time.sleep(wait_s)
    name = run.name if run.name != compiled.dag.name else ""
    return carry_out(settings, path.absolute(), text, compiled, (name, "", run.params), False, as_json)


async def _ended(settings: Settings, reference: str) -> RunView:
    """The run, once it is over."""
    async with open_source(settings) as source:
        run = await source.find(reference)
        if run.ended:
            return run
        ask_to_stop(settings, run)
        return await follow(source, run, settings.data_dir / "logs", choose_show(True))


def _file_of(run: RunView, settings: Settings) -> Path:
    try:
        return find_file(run.name, settings)
    except NotFound:
        raise NotFound(
            f"there is no DAG file for {run.name} in {settings.dags_dir}",
            hint="runs of a text that is no file are started again with `astrarium retry`",
        ) from None
