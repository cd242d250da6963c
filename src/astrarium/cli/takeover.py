"""`astrarium import dagu FOLDER`: takes over a home of Dagu 1.x; `astrarium history migrate FOLDER` only its runs."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ..config import Settings
from ..errors import Invalid, NotFound, Unavailable
from ..kernel.engine import Engine
from ..kernel.types import Command
from ..runs.work.workshop import step_file
from ..store.log import run_folder, try_file
from ..surfaces.dags.catalog import open_catalog, strip_suffix
from ..surfaces.dags.dagu.history import Definitions, Left, Past, read_run, run_folders
from ..surfaces.dags.dagu.home import Home, dag_files, open_home, our_settings, suspended_names
from ..surfaces.dags.machines.schedule import SuspendSchedule
from ..surfaces.dags.views.query import find_run
from .alone import ACTOR, HOME, open_worker
from .definition import installed_kinds
from .link import live_server
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, examples, new_app, print_json, settings_of

APP = new_app()
SOURCES = ("dagu",)
IN_FLIGHT = 256
"""Runs handed to the engine together."""
SHOWN = 20
"""Things left behind that are told one by one."""
EXAMPLES = examples(
    "astrarium import dagu ~/.dagu --dry-run    (tells what would be taken over, changes nothing)",
    "astrarium import dagu ~/.dagu",
    "astrarium import dagu ~/.config/dagu --data ~/.local/share/dagu",
)

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="DAGU_HOME, or the folder with Dagu's config.yaml.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="FOLDER", help="Dagu's data folder, where that lies elsewhere.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")]


class Report(msgspec.Struct):
    """What was taken over, and what was not."""

    dry_run: bool
    dags: int = 0
    dags_there: int = 0
    base: bool = False
    suspended: int = 0
    runs: int = 0
    runs_there: int = 0
    settings: dict[str, Any] = {}
    left: list[str] = []


@APP.command(name="import", epilog=EXAMPLES)
def take_over(
    source: Annotated[str, typer.Argument(metavar="WHAT", help="What FOLDER is a home of: dagu.")],
    folder: FolderArgument,
    data: DataOption = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Take over DAG files, base configuration, suspend flags and the history of runs from an installation of Dagu 1.x.

    FOLDER is only read. Nothing that is here already is overwritten, and what was taken over before is left as it is, so the
    command may be repeated. Stop Dagu and the server of the data folder first.
    """
    if source not in SOURCES:
        raise Invalid(f"there is no way to import `{source}`", hint=f"one of: {', '.join(SOURCES)}", code="usage")
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir, database_url=database_url)
    return conclude(asyncio.run(_take_over(settings, open_home(folder, data), dry_run)), as_json)


async def _take_over(settings: Settings, home: Home, dry_run: bool) -> Report:
    report = Report(dry_run)
    report.settings, report.left = our_settings(home)
    need_no_server(settings)
    _copy_dags(home, settings, report)
    _copy_defaults(home, settings, report)
    if dry_run:
        report.suspended = len(suspended_names(home))
        await migrate(None, settings, home, report)
        return report
    async with open_worker(settings, idle=True) as worker:
        for name in suspended_names(home):
            await worker.engine.submit(Command(f"schedule:{name}", SuspendSchedule(True), HOME, ACTOR))
            report.suspended += 1
        await migrate(worker.engine, settings, home, report)
    return report


def need_no_server(settings: Settings) -> None:
    """Raises `Unavailable` while a server works on the data folder."""
    server = live_server(settings)
    if server is not None and not settings.database_url:
        raise Unavailable(
            f"a server (process {server.pid}) works on {settings.data_dir}", hint="stop it, import, and start it again"
        )


def _copy_dags(home: Home, settings: Settings, report: Report) -> None:
    catalog = open_catalog(settings, installed_kinds())
    for path in dag_files(home) if home.dags.is_dir() else ():
        target = settings.dags_dir / path.relative_to(home.dags)
        if _copy(path, target, report):
            report.dags += 1
        else:
            report.dags_there += 1
        try:
            text = path.read_text(encoding="utf-8-sig")
            catalog.compile(text, strip_suffix(path.name), file=str(target), base_dir=target.parent)
        except Invalid as error:
            report.left.append(
                f"{target} was copied, but does not load here: {error.problems[0] if error.problems else error.message}"
            )
        except UnicodeDecodeError:
            report.left.append(f"{target} was copied, but is no UTF-8 text")


def _copy_defaults(home: Home, settings: Settings, report: Report) -> None:
    if home.base.is_file():
        report.base = _copy(home.base, settings.base_dag, report)


def _copy(path: Path, target: Path, report: Report) -> bool:
    """Whether it was copied; a file that is there stays, with a word when it differs."""
    if target.exists():
        if target.read_bytes() != path.read_bytes():
            report.left.append(f"{path} was not copied: {target} is there and differs")
        return False
    if not report.dry_run:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(path, part)
        part.replace(target)
    return True


async def migrate(engine: Engine | None, settings: Settings, home: Home, report: Report) -> None:
    """Take over the runs of a home, in order; without an engine they are only counted."""
    catalog = open_catalog(settings, installed_kinds())
    texts = {strip_suffix(path.name): path for path in dag_files(home)} if home.dags.is_dir() else {}
    definitions = Definitions(catalog, texts)
    some: list[Past] = []
    for folder in run_folders(home.runs):
        for one in await asyncio.to_thread(_family, folder, definitions):
            if isinstance(one, Left):
                report.left.append(f"run {one.id} of {one.name}: {one.why}")
            elif engine is None:
                report.runs += 1
            else:
                some.append(one)
        if engine is not None and len(some) >= IN_FLIGHT:
            await _put(engine, settings, some, report)
            some = []
    if engine is not None:
        await _put(engine, settings, some, report)


def _family(folder: Path, definitions: Definitions) -> list[Past | Left]:
    return list(read_run(folder, definitions))


async def _put(engine: Engine, settings: Settings, some: list[Past], report: Report) -> None:
    known: set[str] = set()
    """Runs that are here from an earlier time, and those under them."""
    orders = []
    for past in some:
        start = past.order.start
        if start.root in known or (not start.parent and await _is_there(engine, start.name, start.alias)):
            known.add(start.root or past.run)
            report.runs_there += 1
            continue
        await asyncio.to_thread(_copy_logs, settings, past)
        orders.append(engine.submit(Command(f"run:{past.run}", past.order, HOME, ACTOR), list(past.made.things)))
        report.runs += 1
    await asyncio.gather(*orders)


async def _is_there(engine: Engine, name: str, alias: str) -> bool:
    try:
        await find_run(engine.store, HOME, name, alias)
    except NotFound:
        return False
    return True


def _copy_logs(settings: Settings, past: Past) -> None:
    """The logs come before the run: one that is shown has them."""
    place = run_folder(settings.data_dir / "logs", past.run, past.order.created_at)
    for (no, stream), path in past.logs.items():
        if path.is_file():
            target = try_file(place, step_file(1, past.made.dag.graph.nodes[no].name), 1, "out" if stream == "out" else "err")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def conclude(report: Report, as_json: bool) -> int:
    """Tell what happened; the exit code."""
    if as_json:
        print_json(report)
        return 0
    would = "would be " if report.dry_run else ""
    for number, what in (
        (report.dags, "DAG files"), (int(report.base), "base configuration"), (report.suspended, "suspended schedules"),
        (report.runs, "runs"),
    ):  # fmt: skip
        print(f"{what}: {number} {would}taken over")
    if report.dags_there or report.runs_there:
        print(f"here already: {report.dags_there} DAG files, {report.runs_there} runs")
    for line in report.left[:SHOWN]:
        print(f"left: {line}")
    if len(report.left) > SHOWN:
        print(f"left: {len(report.left) - SHOWN} more (--json tells all)")
    if report.settings:
        print("settings that say the same, for astrarium.toml:")
        for name, value in report.settings.items():
            print(f"  {name} = {_toml(value)}")
    return 0


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(one)}" for key, one in value.items()) + "}"
    return msgspec.json.encode(value).decode()
