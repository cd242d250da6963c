"""`astrarium build`: make tasks of the user's own modules, as `ar.build` does in a program."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import ClientConfig, load_config
from ..errors import Invalid, NotFound
from ..sdk.builds.entry import build as make
from ..sdk.builds.executor import Mode
from ..sdk.builds.named import find_tasks
from ..sdk.builds.plan import describe, discover
from ..sdk.builds.summary import BuildFailed, BuildStatus, BuildSummary
from ..sdk.registry.api import APIRegistry
from ..sdk.registry.noop import NoOpRegistry
from ..sdk.registry.port import Registry
from ..sdk.session import Session
from ..sdk.target.root import use_target_roots
from ..sdk.task.task import Task
from .client import EnvironmentName, ProfileName
from .option import AsJson, examples, new_app, print_json
from .screen import show_rows

APP = new_app()
EXAMPLES = examples(
    "astrarium build pipeline:report",
    'astrarium build pipeline:total --param limit=4 --param \'names=["a", "b"]\'',
    "astrarium build pipeline:report --dry-run",
    "astrarium build pipeline:report --resume 0190a0a0-0000-7000-8000-000000000001",
    "astrarium build pipeline:report --profile prod --description nightly --settings REGION=eu",
)


@APP.command(epilog=EXAMPLES)
def build(
    names: Annotated[
        list[str], typer.Argument(metavar="MODULE:ATTR...", help="A task, a class of tasks, or a function that gives tasks.")
    ],
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="A field of each, as text or JSON; may be repeated.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--settings", metavar="K=V", help="A setting of the build's plan; may be repeated.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="BUILD", help="Go on with this build of the registry.")
    ] = None,
    description: Annotated[str | None, typer.Option("--description", help="What the registry shows of it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what is made and what would be.")] = False,
    mode: Annotated[Mode, typer.Option("--mode", help="Where bodies run.")] = "threads",
    max_concurrent: Annotated[int, typer.Option("-j", "--max-concurrent", min=1, help="Most bodies at a time.")] = 10,
    keep_going: Annotated[
        bool, typer.Option("-k", "--keep-going", help="After a failure make whatever does not need what failed.")
    ] = False,
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """Make tasks and all they need, as far as it is not made. Exit code 1 if that failed.

    Modules are looked for in the working folder first. Builds are recorded in the configured registry, if there is one.
    """
    here, given = str(Path.cwd()), _pairs(param or [], "--param")
    tasks = [task for name in names for task in find_tasks(name, given, here)]
    config = load_config(profile=profile, environment=environment)
    with _registry(config, resume) as registry:
        if dry_run:
            return _tell(registry, tasks, config.target_roots, as_json)
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            summary = make(
                tasks, mode=mode, max_concurrent=max_concurrent, fail_mode="continue" if keep_going else "fail_fast", registry=registry,
                resume_build_id=resume, description=description, settings=_pairs(settings, "--settings") if settings else None,
                raise_on_failure=False,
            )  # fmt: skip
    return _ended(summary, tasks, as_json)


@contextmanager
def _registry(config: ClientConfig, resume: str | None) -> Iterator[Registry]:
    if config.registry_url and not config.no_registry:
        with Session(config) as session:
            yield APIRegistry(session=session)
    elif resume:
        told = f"there is no registry that could know build {resume}"
        raise Invalid(told, hint="`astrarium config show registry_url`", code="usage")
    else:
        yield NoOpRegistry()


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Invalid(f"{option} takes NAME=VALUE, not {text!r}", code="usage")
        pairs[name] = value
    return pairs


def _ended(summary: BuildSummary, tasks: Sequence[Task[Any]], as_json: bool) -> int:
    good = summary.status is BuildStatus.SUCCESS
    if as_json:
        print_json(
            {
                "status": str(summary.status),
                "build_id": summary.build_id,
                "task_count": summary.task_count,
                "failed_task": summary.failed_task,
                "error": str(summary.error) if summary.error else None,
                "targets": {str(task.id): task.target().uri for task in tasks},
            }
        )
        return 0 if good else 1
    if not good:
        raise BuildFailed(summary) from summary.error
    print(summary)
    for task in tasks:
        print(task.target().uri)
    if summary.build_id:
        print(f"build {summary.build_id}", file=sys.stderr)
    return 0


def _tell(registry: Registry, tasks: Sequence[Task[Any]], roots: dict[str, str], as_json: bool) -> int:
    """What a build would find and make; nothing is told to anybody."""
    told = registry.target_roots()
    with use_target_roots(told or roots) if not isinstance(registry, NoOpRegistry) else nullcontext():
        found = asyncio.run(discover(tasks, lambda name: False, os.cpu_count() or 1))
        rows = [(str(one.task.id), describe(one.task), one.complete, one.task.target().uri) for one in found.values()]
    if as_json:
        print_json([{"task_id": id_, "task": name, "complete": made, "uri": uri} for id_, name, made, uri in rows])
    else:
        show_rows(("status", "task", "target"), [("made" if made else "to make", name, uri) for _, name, made, uri in rows], "")
    return 0


def import_here(modules: Sequence[str], folder: Path) -> None:
    """Import modules of the working folder, so that the task classes in them are known. Raises `NotFound`."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    for name in modules:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise NotFound(f"there is no module {name!r}", hint=f"looked first in {folder}") from None
