"""`astrarium history migrate`: the runs of an installation of Dagu 1.x, without its DAG files and settings."""

from __future__ import annotations

import asyncio

from ..config import Settings
from ..surfaces.dags.dagu.home import Home, open_home
from .alone import open_worker
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, examples, new_app, settings_of
from .takeover import DataOption, DryRun, FolderArgument, Report, conclude, migrate, need_no_server

APP = new_app()
EXAMPLES = examples("astrarium history migrate ~/.dagu --dry-run", "astrarium history migrate ~/.dagu")


@APP.callback(epilog=EXAMPLES)
def history() -> None:
    """The past of runs."""


@APP.command(name="migrate", epilog=EXAMPLES)
def migrate_history(
    folder: FolderArgument,
    data: DataOption = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Take over the ended runs of an installation of Dagu 1.x, with their steps, outputs and logs.

    FOLDER is only read; runs that are here already are left alone, so the command may be repeated.
    """
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir, database_url=database_url)
    return conclude(asyncio.run(_migrate(settings, open_home(folder, data), dry_run)), as_json)


async def _migrate(settings: Settings, home: Home, dry_run: bool) -> Report:
    report = Report(dry_run)
    need_no_server(settings)
    if dry_run:
        await migrate(None, settings, home, report)
        return report
    async with open_worker(settings, idle=True) as worker:
        await migrate(worker.engine, settings, home, report)
    return report
