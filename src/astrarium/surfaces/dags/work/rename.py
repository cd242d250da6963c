"""Renaming a DAG file with its runs: the order, and how the job carries it out."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from ....errors import AstrariumError, Conflict, Invalid, NotFound, Refused, Unavailable
from ....kernel.engine import Engine
from ....kernel.record.entry import PutEntry, find_entry, put_entry
from ....kernel.slots import PlainJob
from ....kernel.types import ENGINE, Command, Job, Scope
from ....runs.birth import active_slot
from ....runs.message import RenameRun
from ....spec.ids import uuid7
from ....web.caller import Caller
from ..catalog import Catalog, Entry, check_name, strip_suffix
from ..machines.rename import RENAME_JOB, EndRename, NoteMoved, Rename, RenameDag
from ..machines.schedule import ScheduleState, SuspendSchedule
from ..views.query import SURFACE
from .bound import Bound

WEBHOOK = "webhook"
"""The kind of the entries of `work.webhook`."""
CHUNK = 200
"""Runs renamed at once."""
ANSWER_S = 20.0
"""How long a client is kept waiting for the last run; a history that takes longer goes on following."""
_LEFT = (
    "SELECT id, environment FROM runs WHERE workspace = ? AND surface = ? AND name = ? AND parent_run = '' AND created_at <= ?"
    " ORDER BY id LIMIT ?"
)


async def rename_dag(engine: Engine, catalog: Catalog, caller: Caller, entry: Entry, new_name: str) -> None:
    """Give a file another name; where the text names no DAG, its runs have the new name, too. Returns once that is so, or
    after `ANSWER_S` while the rest follows.

    Raises `Invalid` for a bad name, `Refused` (`already_exists`, `not_running` while a run is active), `NotFound`, `Unavailable`."""
    check_name(new_name, "newFileName")
    order = await asyncio.to_thread(plan_rename, catalog, entry, new_name)
    stream = f"rename:{uuid7()}"
    await engine.submit(Command(stream, order, caller.scope, caller.actor))
    until = time.monotonic() + ANSWER_S
    while True:
        changed = asyncio.ensure_future(engine.tail.changed())
        try:
            state: Rename | None = await engine.state(stream, caller.scope)
            if state is None or state.status in ("done", "failed") or time.monotonic() > until:
                break
            await asyncio.wait((changed,), timeout=until - time.monotonic())
        finally:
            changed.cancel()
    if state is not None and state.status == "failed":
        raise Unavailable(
            f"{entry.file_name} was not renamed: {state.problem}", hint="nothing was changed; mend it and try again"
        )


def plan_rename(catalog: Catalog, entry: Entry, new_name: str) -> RenameDag:
    """What the order comes to. Blocks. Raises `Refused` when the name is taken."""
    stem = strip_suffix(new_name)
    target = entry.path.with_name(new_name if stem != new_name else new_name + entry.path.suffix)
    if any(other.stem == stem for other in catalog.entries()):
        raise Refused(f"a DAG file {stem!r} exists already", code="already_exists", hint="choose another name")
    name = entry.name
    try:
        text = catalog.text(entry)
        new = catalog.compile(text, stem, base_dir=entry.path.parent).dag.name if entry.dag is not None else stem
    except Invalid:
        new = stem  # it does not load, so it never said what it is called
    file, new_file = (path.relative_to(catalog.folder).as_posix() for path in (entry.path, target))
    return RenameDag(file, new_file, name, new, SURFACE, active_slot(SURFACE, name))


async def take_along(engine: Engine, scope: Scope, stem: str, new_stem: str) -> None:
    """What belongs to the file by its name: a schedule that is suspended stays so, and a later file of the old name is not suspended
    for it; a webhook keeps its token."""
    schedule: ScheduleState | None = await engine.state(f"schedule:{stem}", scope)
    if schedule is not None and schedule.kept.suspended:
        moved = ((new_stem, True), (stem, False))
        await engine.submit_all([Command(f"schedule:{name}", SuspendSchedule(now), scope) for name, now in moved])
    hook = await find_entry(engine.store, scope.workspace, WEBHOOK, stem)
    if hook is not None:
        order = PutEntry(new_stem, hook.body, str(ENGINE), expect=hook.version)
        await put_entry(engine, scope, ENGINE, WEBHOOK, hook.id, order, "webhook.renamed", dag=new_stem, before=stem)


class RenameJob(PlainJob, Bound):
    """Moves the file, then gives its runs the new name, chunk by chunk; done again from wherever it was when a server died."""

    name = RENAME_JOB

    def __init__(self, catalog: Catalog, place: str) -> None:
        self._catalog = catalog
        self._place = place
        super().__init__()

    def place(self, job: Job) -> str:
        return self._place

    async def carry_out(self, job: Job) -> Any:
        engine = await self.engine()
        scope = await engine.scope_of(job)
        state: Rename | None = await engine.state(job.stream, scope)
        if state is None or state.order is None or state.status in ("done", "failed"):
            return None
        order, began_at = state.order, state.began_at
        if state.status == "begun":
            try:
                await asyncio.to_thread(self._catalog.move, order.file, order.new_file)
            except (NotFound, Refused, Unavailable) as error:
                return EndRename(error.message)
            await engine.submit(Command(job.stream, NoteMoved(), scope))
        if order.new_dag != order.dag:
            await self._follow(engine, scope, order, began_at)
        try:
            await take_along(engine, scope, strip_suffix(Path(order.file).name), strip_suffix(Path(order.new_file).name))
        except (Refused, Conflict) as error:
            return EndRename(f"the webhook stays with the old name: {error.message}")
        return EndRename()

    async def _follow(self, engine: Engine, scope: Scope, order: RenameDag, began_at: int) -> None:
        """Rename the runs that were there when the order was given, until none is left."""
        while True:
            rows = await engine.store.read(_LEFT, (scope.workspace, order.surface, order.dag, began_at, CHUNK))
            if not rows:
                return
            commands = [Command(f"run:{run}", RenameRun(order.new_dag), Scope(scope.workspace, where)) for run, where in rows]
            await asyncio.gather(*(engine.submit(command) for command in commands))

    def broke(self, job: Job, error: Exception) -> Any:
        return EndRename(error.message if isinstance(error, AstrariumError) else f"{type(error).__name__}: {error}")
