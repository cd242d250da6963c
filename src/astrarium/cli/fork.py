"""`astrarium fork`: another run goes on from a step of a DAG's run, with something different."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ..config import Settings
from ..errors import Invalid
from ..runs.fork import Changes, fork_run
from ..spec.params import parse_overrides
from .alone import ACTOR, HOME, open_worker, watch_alone
from .link import Server, ask, live_server, segment
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, RunReference, examples, new_app, pair_of, print_json, settings_of
from .run import Params, RunId, check_run_id, conclude, watch_there
from .source import Source, open_source
from .tree import choose_show
from .view import RunView

APP = new_app()
EXAMPLES = examples(
    "astrarium fork latest --step load",
    "astrarium fork report --output fetch='[1, 2, 3]'",
    "astrarium fork 0198f3 -p 'DAY=2026-01-02' --run-id again-2",
)


@APP.command(epilog=EXAMPLES)
def fork(
    reference: RunReference,
    step: Annotated[str, typer.Option("--step", metavar="STEP", help="Run this step again, and all that follows from it.")] = "",
    outputs: Annotated[
        list[str] | None, typer.Option("--output", metavar="STEP=TEXT", help="What a step shall have printed; may be repeated.")
    ] = None,
    params: Params = "",
    run_id: RunId = "",
    detach: Annotated[bool, typer.Option("--detach", help="Leave it to the server and return at once.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Begin a new run with another's past up to a step, and something different from there. The other run stays as it is.

    With --step that step and what follows from it runs; with --output what follows from the steps named; with other parameters
    everything; with none of them what did not go well. Watches the run and ends like `astrarium run`; needs no server.
    `astrarium graph diff RUN OTHER` shows how the two differ.
    """
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir, database_url=database_url)
    check_run_id(run_id)
    parse_overrides(params)
    made = read_outputs(outputs or [])
    server = live_server(settings)
    if server is not None:
        return asyncio.run(_fork_there(settings, server, reference, (step, params, run_id), made, detach, as_json))
    if detach:
        raise Invalid("--detach needs a running server", hint="start one with `astrarium server`", code="usage")
    return asyncio.run(_fork_here(settings, reference, (step, params, run_id), made, as_json))


def read_outputs(words: list[str]) -> dict[str, str]:
    """Raises `Invalid` for what is no STEP=TEXT."""
    return dict(pair_of(word, "STEP=TEXT", "write --output fetch='[1, 2]'") for word in words)


Wanted = tuple[str, str, str]
"""(step, parameters, run id) as given, empty when not."""


async def _find(settings: Settings, reference: str) -> RunView:
    async with open_source(settings) as source:
        return await source.find(reference)


async def _fork_here(settings: Settings, reference: str, wanted: Wanted, made: dict[str, str], as_json: bool) -> int:
    step, params, run_id = wanted
    run = await _find(settings, reference)
    async with open_worker(settings) as worker:
        source = Source(worker.store.read)
        changes = Changes(params=params or None, outputs=made or None)
        key = await fork_run(worker.engine, run.key, HOME, step=step or None, changes=changes, actor=ACTOR, alias=run_id)
        ended, told = await watch_alone(worker, await source.find(key), choose_show(as_json))
    return conclude(ended, told, as_json)


async def _fork_there(
    settings: Settings, server: Server, reference: str, wanted: Wanted, made: dict[str, str], detach: bool, as_json: bool
) -> int:
    step, params, run_id = wanted
    run = await _find(settings, reference)
    body = {"dagRunId": run_id or None, "stepName": step or None, "params": params or None, "outputs": made or None}
    begun = str(ask(server, "POST", f"/dag-runs/{segment(run.name)}/{segment(run.id)}/fork", body)["dagRunId"])
    if detach:
        print_json({"id": begun}) if as_json else print(begun)
        return 0
    async with open_source(settings) as source:
        return await watch_there(settings, server, source, await source.find(begun), as_json)
