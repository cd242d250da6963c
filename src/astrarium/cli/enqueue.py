"""`astrarium enqueue`: a run for the server to carry out when its queue has a place."""

from __future__ import annotations

from typing import Annotated

import typer

from .definition import compile_file, find_file
from .link import need_server
from .option import AsJson, DagsDir, DataDir, examples, new_app, print_json, settings_of
from .run import Name, Params, RunId, Words, check_run_id, hand_over, read_params

APP = new_app()
EXAMPLES = examples(
    "astrarium enqueue report",
    "astrarium enqueue report -u heavy --priority high -- DAY=2026-01-31",
    "astrarium status $(astrarium enqueue report)",
)


@APP.command(epilog=EXAMPLES)
def enqueue(
    file: Annotated[str, typer.Argument(metavar="DAG", help="A DAG file, or the name of a DAG in the DAG folder.")],
    words: Words = None,
    params: Params = "",
    name: Name = "",
    run_id: RunId = "",
    queue: Annotated[str, typer.Option("-u", "--queue", metavar="QUEUE", help="Queue instead of the DAG's.")] = "",
    priority: Annotated[
        str, typer.Option("--priority", metavar="LEVEL", help="high, normal, low, or a number; higher goes first.")
    ] = "normal",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
) -> int:
    """Put a run of a DAG into its queue and print the run's id.

    The server that works on the data folder starts it when the queue has a place; `astrarium status` says what it waits for.
    """
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir)
    path = find_file(file, settings)
    text, compiled = compile_file(path, settings)
    wanted = (name, run_id, read_params(params, words))
    check_run_id(run_id)
    level: str | int = int(priority) if priority.lstrip("+-").isdecimal() else priority
    place = {"queue": queue or None, "priority": level}
    begun = hand_over(settings, need_server(settings, "a queue"), path.absolute(), text, compiled, wanted, place)
    print_json({"id": begun}) if as_json else print(begun)
    return 0
