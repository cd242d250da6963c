"""`astrarium dequeue`: takes a waiting run out of its queue."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import Invalid, NotFound
from .link import ask, need_server, segment
from .option import AsJson, DataDir, examples, new_app, print_json, settings_of

APP = new_app()
EXAMPLES = examples("astrarium dequeue heavy", "astrarium dequeue heavy -d report:0198f3a2-77b1-7d9e-8c44-1f0e6a2b9d10")


@APP.command(epilog=EXAMPLES)
def dequeue(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="A global queue, or the name of a DAG.")],
    run: Annotated[
        str, typer.Option("-d", "--dag-run", metavar="NAME:ID", help="Which run; the next one in line when not given.")
    ] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Take a run that waits out of its queue; it is aborted and never starts.

    Exit code 1 when nothing waits there.
    """
    server = need_server(settings_of(data_dir=data_dir), "a queue")
    if run:
        name, colon, alias = run.partition(":")
        if not (name and colon and alias):
            raise Invalid(f"`{run}` names no run", hint="write it as NAME:ID, e.g. report:0198f3…", code="usage")
    else:
        name, alias = _next_of(ask(server, "GET", "/queues"), queue)
    ask(server, "GET", f"/dag-runs/{segment(name)}/{segment(alias)}/dequeue")
    print_json({"name": name, "id": alias}) if as_json else print(f"{name} {alias}: taken out of {queue}")
    return 0


def _next_of(told: Any, queue: str) -> tuple[str, str]:
    for one in told["queues"]:
        if one["name"] == queue and one["queued"]:
            return str(one["queued"][0]["name"]), str(one["queued"][0]["dagRunId"])
    busy = ", ".join(one["name"] for one in told["queues"] if one["queued"])
    raise NotFound(f"nothing waits in queue {queue}", hint=f"runs wait in: {busy}" if busy else "no run waits in any queue")
