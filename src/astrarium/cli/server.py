"""`astrarium server`: the process that serves HTTP and works. Only this noun loads the server's libraries."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ..server import serve
from .option import DagsDir, DatabaseUrl, DataDir, examples, new_app, settings_of

APP = new_app()
GraphFiles = Annotated[
    list[Path] | None, typer.Option("--graph", metavar="FILE", help="A graph to offer; may be given several times.")
]
GraphsDir = Annotated[Path | None, typer.Option("--graphs-dir", metavar="FOLDER", help="Folder of graphs to offer.")]
LEVELS = ("debug", "info", "warning", "error")
EXAMPLES = examples(
    "astrarium server",
    "astrarium server --port 8000 --dags-dir ./dags",
    "astrarium server --graph triage.yaml --graph review.yaml",
    "astrarium server --data-dir /var/lib/astrarium --drain-timeout 60",
    "astrarium server --database-url postgresql://astrarium@db/astrarium",
    "astrarium server --auth builtin --host 0.0.0.0",
)


@APP.command(epilog=EXAMPLES)
def server(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; others than loopback need --auth.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = None,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    graph: GraphFiles = None,
    graphs_dir: GraphsDir = None,
    database_url: DatabaseUrl = None,
    auth: Annotated[str | None, typer.Option("--auth", metavar="none|builtin|oidc", help="Who may call; see docs/guide/access.md.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="default|cleared", help="What the server insists on; see docs/guide/profiles.md.")
    ] = None,
    drain_timeout: Annotated[
        float | None, typer.Option("--drain-timeout", metavar="SECONDS", help="Time for running steps to finish on TERM.")
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help=f"One of {', '.join(LEVELS)}.")] = "info",
) -> int:
    """Serve the HTTP API below http://127.0.0.1:8080/api/v2, run DAGs, and keep their runs.

    SIGTERM or Ctrl-C ends it clean: it takes no more work, lets what runs finish for a while, then signals it. Whatever is open
    goes on when it is started again. `astrarium config show` prints all settings.
    """
    if log_level.lower() not in LEVELS:
        raise typer.BadParameter(f"{log_level!r} is none of {', '.join(LEVELS)}", param_hint="--log-level")
    settings = settings_of(
        host=host,
        port=port,
        data_dir=data_dir,
        dags_dir=dags_dir,
        graphs=",".join(str(one) for one in graph) if graph else None,
        graphs_dir=graphs_dir,
        database_url=database_url,
        auth=auth,
        server_profile=profile,
        drain_timeout_s=drain_timeout,
    )
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("watchfiles").setLevel(max(logging.WARNING, logging.getLogger().level))  # each change of a file
    serve(settings)
    return 0
