"""`astrarium run`: one DAG file to its end, watched; by a worker of our own, or by the server that works on the data folder."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import Settings
from ..errors import Invalid
from ..spec.ids import RUN_ID_PATTERN, is_run_id
from ..spec.params import parse_overrides
from ..surfaces.dags.catalog import Compiled
from .alone import open_worker, start_alone, stopping, watch_alone
from .definition import compile_file, find_file
from .follow import follow
from .link import Server, ask, live_server, segment
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, examples, new_app, print_json, settings_of
from .source import LATEST, Source, open_source
from .tree import choose_show
from .view import RunView, as_document

APP = new_app()
Words = Annotated[list[str] | None, typer.Argument(metavar="[-- PARAMS...]", help="Parameters: NAME=value or a value.")]
Params = Annotated[str, typer.Option("-p", "--params", help="All parameters in one text, or a JSON object.")]
Name = Annotated[str, typer.Option("-N", "--name", metavar="NAME", help="Name of the run's DAG instead of the file's.")]
RunId = Annotated[str, typer.Option("-r", "--run-id", metavar="ID", help="Id of the run; it must be free.")]
EXAMPLES = examples(
    "astrarium run hello.yaml",
    "astrarium run hello.yaml -- NAME=you 'MOTTO=two words'",
    'astrarium run hello.yaml -p \'{"NAME": "you"}\'',
    "astrarium run hello.yaml --json | jq .status",
    "astrarium run hello.yaml --detach    (with a running server)",
)


@APP.command(epilog=EXAMPLES)
def run(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A DAG file, or the name of a DAG in the DAG folder.")],
    words: Words = None,
    params: Params = "",
    name: Name = "",
    run_id: RunId = "",
    from_run: Annotated[str, typer.Option("--from-run-id", metavar="RUN", help="Take the parameters of that run.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Leave it to the server and return at once.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Run a DAG file to its end and show its steps.

    Needs no server. If one works on the data folder, the run is handed to it and watched. Ctrl-C stops the run; a second one
    does not wait for it. Exit code 0 when it succeeded (also partially), 1 when not, 130 after Ctrl-C.
    """
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir, database_url=database_url)
    path = find_file(file, settings)
    text, compiled = compile_file(path, settings)
    if from_run and (params or words):
        raise Invalid("the parameters come either from --from-run-id or from here", code="usage")
    wanted = asyncio.run(params_of(settings, from_run)) if from_run else read_params(params, words)
    return carry_out(settings, path.absolute(), text, compiled, (name, run_id, wanted), detach, as_json)


Wanted = tuple[str, str, str]
"""(name, run id, parameters) as given, empty when not."""


def read_params(params: str, words: list[str] | None) -> str:
    """The parameters of a command line as one text of the dialect. Raises `Invalid`."""
    if params and words:
        raise Invalid("give the parameters either with --params or after `--`", code="usage")
    wanted = params or join_params(words or [])
    parse_overrides(wanted)
    return wanted


async def params_of(settings: Settings, reference: str) -> str:
    """The parameters a run was started with."""
    async with open_source(settings) as source:
        return (await source.find(reference)).params


def check_run_id(run_id: str) -> None:
    if run_id and (run_id == LATEST or not is_run_id(run_id)):
        raise Invalid(f"`{run_id}` cannot be a run id", hint=f"it must match {RUN_ID_PATTERN} and not be `latest`", code="usage")


def carry_out(
    settings: Settings, path: Path, text: str, compiled: Compiled, wanted: Wanted, detach: bool, as_json: bool
) -> int:
    """Run what was compiled from the file `path` (which need not exist), there or here; the exit code."""
    check_run_id(wanted[1])
    server = live_server(settings)
    if server is not None:
        return asyncio.run(_run_there(settings, server, path, text, compiled, wanted, detach, as_json))
    if detach:
        raise Invalid("--detach needs a running server", hint="start one with `astrarium server`", code="usage")
    return asyncio.run(_run_here(settings, compiled, wanted, as_json))


async def _run_here(settings: Settings, compiled: Compiled, wanted: Wanted, as_json: bool) -> int:
    show = choose_show(as_json)
    async with open_worker(settings) as worker:
        key = await start_alone(worker, compiled, *wanted)
        begun = await Source(worker.store.read).find(key)
        ended, told = await watch_alone(worker, begun, show)
    return conclude(ended, told, as_json)


async def _run_there(
    settings: Settings, server: Server, path: Path, text: str, compiled: Compiled, wanted: Wanted, detach: bool, as_json: bool
) -> int:
    begun = hand_over(settings, server, path, text, compiled, wanted)
    if detach:
        print_json({"id": begun}) if as_json else print(begun)
        return 0
    async with open_source(settings) as source:
        return await watch_there(settings, server, source, await source.find(begun), as_json)


def hand_over(
    settings: Settings, server: Server, path: Path, text: str, compiled: Compiled, wanted: Wanted, queue: dict[str, Any] | None = None
) -> str:
    """Let the server start a run, or with a `queue` enqueue it; its id. A file of the DAG folder stays that file's run."""
    name, run_id, params = wanted
    body = {"dagRunId": run_id or None, "params": params or None, **(queue or {})}
    if path.parent == settings.dags_dir and path.exists():
        order = "start" if queue is None else "enqueue"
        answer = ask(server, "POST", f"/dags/{segment(path.name)}/{order}", {**body, "dagName": name or None})
    else:
        whole = {**body, "spec": text, "name": name or compiled.dag.name, "baseDir": str(path.parent)}
        answer = ask(server, "POST", "/dag-runs" if queue is None else "/dag-runs/enqueue", whole)
    return str(answer["dagRunId"])


async def watch_there(settings: Settings, server: Server, source: Source, run: RunView, as_json: bool) -> int:
    """Follow a run the server drives; Ctrl-C asks the server to stop it."""
    show = choose_show(as_json)

    async def stop(hurry: bool) -> None:
        path = f"/dag-runs/{segment(run.name)}/{segment(run.id)}/stop"
        await asyncio.to_thread(ask, server, "POST", path, {"graceSec": 0} if hurry else None)

    with stopping(stop, show) as told:
        ended = await follow(source, run, settings.data_dir / "logs", show)
    return conclude(ended, told[0] if told else 0, as_json)


def conclude(run: RunView, told: int, as_json: bool) -> int:
    """Print the JSON document if wanted; the exit code."""
    if as_json:
        print_json(as_document(run))
    sys.stdout.flush()
    if told:
        return 128 + told
    return 0 if run.good else 1


def join_params(words: list[str]) -> str:
    """Words of a command line as one text of the dialect: values with blanks or quotes are quoted. A single word that is a JSON
    object or array stays as it is."""
    if len(words) == 1 and words[0][:1] in ("{", "["):
        return words[0]
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
        name, equals, value = "", "", word
    if value and not any(char.isspace() or char in '"\\`' for char in value):
        return f"{name}{equals}{value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}{equals}"{escaped}"'
