"""Old runs go: which, in what order, and what goes with them.

A transaction takes a batch of runs out of the store whole (rows, steps, events but for a tombstone, state, slots) and notes in the
sweeper's life what is owed: the runs below them, the deliveries that told of them, and their files. So rows go before files and the
top before what is below it: nobody is ever shown a run without its logs or its children, and a crash in between leaves a job, not
litter. Audit records stay, and counters never fall.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ....config import Settings
from ....errors import Conflict, NotFound, Refused, Unavailable
from ....kernel.audit import act
from ....kernel.record.artifact import ARTIFACTS, RUN, artifact_keys
from ....kernel.record.past import prune_past
from ....kernel.record.receipt import forget_receipts
from ....kernel.slots import PlainJob
from ....kernel.types import ENGINE, Actor, Command, Job, Scope
from ....runs.row import RUNS, STEPS
from ....spec.graph import Graph
from ....store.log import RUN_MARK, run_folder
from ..machines.sweeper import ENDLESS, PAST_DAYS, EndSweep, NoteRemoved, StartSweeping, sweeper_of
from ..views.query import SURFACE, names_with
from ..views.status import marks
from .bound import Bound
from .notice import SURFACE as NOTICES

log = logging.getLogger("astrarium.retention")
BATCH_RUNS = 100
BATCH_EVENTS = 20_000
"""A transaction removes at most so many runs, and stops adding to them at so many events."""
CLEANED_AT_ONCE = 1000
"""Runs one request of a client removes at most; its answer says whether there are more."""
AT_ONCE = 2
"""Batches whose files are removed at once."""
DAY_US = 86_400_000_000

_OF_DAG = "workspace = ? AND surface = ? AND name = ? AND parent_run = ''"
_UNNEEDED = (
    " AND status = 'ended'"
    " AND NOT EXISTS (SELECT 1 FROM runs c WHERE c.root = runs.id AND c.parent_run <> '' AND c.status <> 'ended')"
    " AND NOT EXISTS (SELECT 1 FROM runs f WHERE f.forked_from = runs.id AND f.forked_from <> ''"
    f" AND (f.surface <> '{NOTICES}' OR f.status <> 'ended'))"
)
"""No run below it is active, no fork shows its logs, no delivery still tells of it."""

_RUN_IS_KEPT = "stream LIKE 'run:%' AND EXISTS (SELECT 1 FROM runs WHERE runs.id = substr(receipts.stream, 5))"
"""The receipt tells of a run that is there."""


class Keep(NamedTuple):
    """How long runs of a DAG stay: `days` after their end (negative = for ever, 0 = until a newer one is there), and the newest
    `runs` ended ones (0 = no limit by number). A run goes when either says so."""

    days: int
    runs: int = 0


class OldRun(NamedTuple):
    id: str
    alias: str
    created_at: int


class Removed(NamedTuple):
    """What a cleaning did or, dry, would do. `more`: there are further runs to remove."""

    runs: int
    aliases: list[str]
    more: bool


def keep_of(graph: Graph, settings: Settings) -> Keep:
    """What a definition says, else the settings. A DAG that only says how many are kept is not limited in days (Dagu 2.x:
    `hist_retention_runs` takes the place of the days)."""
    said: dict[str, Any] = graph.meta.get("dag", {})
    runs = said.get("histRetentionRuns")
    days = said.get("histRetentionDays", settings.keep_days if runs is None else -1)
    return Keep(days, max(0, settings.keep_runs if runs is None else runs))


class Retention(Bound):
    """Removes runs of one store. `bind` hands in the engine; until then its jobs wait."""

    def __init__(self, settings: Settings, place: str) -> None:
        self._settings = settings
        self.along: tuple[Callable[[], Awaitable[int]], ...] = ()
        """What is swept along; a server sets it."""
        super().__init__()
        self.kinds = (Sweep(self, place), TidyDag(self), RemoveRest(self))

    async def start(self, scope: Scope) -> None:
        """Sweep this workspace every hour from now on, if nobody does so already."""
        engine = await self.engine()
        await engine.submit(Command(sweeper_of(scope.workspace), StartSweeping(), scope))

    # -- which runs go ------------------------------------------------------------------------------------------------

    async def keep(self, workspace: str, name: str) -> Keep:
        """What the definition of a DAG's newest run says."""
        engine = await self.engine()
        sql = f"SELECT graph FROM runs WHERE {_OF_DAG} ORDER BY created_at DESC, id DESC LIMIT 1"
        rows = await engine.store.read(sql, (workspace, SURFACE, name))
        if not rows:
            raise NotFound(f"there is no run of DAG {name[:120]!r}")
        graph: Graph = (await engine.things.fetch([rows[0][0]]))[rows[0][0]].graph
        return keep_of(graph, self._settings)

    async def doomed(self, workspace: str, name: str, keep: Keep, after: tuple[int, str], limit: int) -> list[OldRun]:
        """Runs of a DAG that may go, oldest first, from a place on. The newest run never does."""
        engine = await self.engine()
        args = (workspace, SURFACE, name)
        newest = await engine.store.read(f"SELECT id FROM runs WHERE {_OF_DAG} ORDER BY created_at DESC, id DESC LIMIT 1", args)
        limits, values, latest = list[str](), list[Any](), 0
        if keep.days >= 0:
            latest = cutoff = engine.clock.now() - keep.days * DAY_US
            limits.append("ended_at <= ?")
            values.append(cutoff)
        if keep.runs > 0:
            sql = (
                f"SELECT created_at, id FROM runs WHERE {_OF_DAG} AND status = 'ended'"
                f" ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET {keep.runs - 1}"
            )
            if oldest := await engine.store.read(sql, args):
                limits.append("created_at < ? OR (created_at = ? AND id < ?)")
                values += [oldest[0][0], oldest[0][0], oldest[0][1]]
                latest = max(latest, oldest[0][0])
        if not limits or not newest:
            return []
        sql = (
            f"SELECT id, alias, created_at FROM runs WHERE {_OF_DAG} AND created_at BETWEEN ? AND ? AND id <> ?"
            f" AND (created_at > ? OR id > ?) AND ({' OR '.join(limits)}){_UNNEEDED} ORDER BY created_at, id LIMIT {int(limit)}"
        )  # the bounds let the index leave out the runs that stay
        rows = await engine.store.read(sql, (*args, after[0], latest, newest[0][0], *after, *values))
        return [OldRun(*row) for row in rows]

    # -- removing -----------------------------------------------------------------------------------------------------

    async def clean(
        self, scope: Scope, name: str, keep: Keep, *, most: int = 0, dry: bool = False, actor: Actor = ENGINE
    ) -> Removed:
        """Remove the runs of a DAG that `keep` does not keep, at most `most` of them (0 = all), in batches."""
        aliases: list[str] = []
        count, place = 0, (-1, "")
        while True:
            limit = min(BATCH_RUNS, most - count) if most else BATCH_RUNS
            if limit <= 0:
                return Removed(count, aliases, bool(await self.doomed(scope.workspace, name, keep, place, 1)))
            found = await self.doomed(scope.workspace, name, keep, place, limit)
            if not found:
                return Removed(count, aliases, False)
            place = (found[-1].created_at, found[-1].id)
            gone = found if dry else await self.remove(scope, found, actor)
            count += len(gone)
            if most:
                aliases += [run.alias for run in gone]

    async def remove(self, scope: Scope, runs: Sequence[OldRun], actor: Actor = ENGINE) -> list[OldRun]:
        """Take ended runs out of the store, in as many transactions as their events ask for; the ones that went. One that moved
        meanwhile, or is still owed some work, stays until the next time."""
        gone: list[OldRun] = []
        for part in await self._parts(runs):
            try:
                await self._remove(scope, part, actor)
                gone += part
            except (Conflict, Refused, NotFound) as error:
                log.info("a batch of %d runs stays for now: %s", len(part), error)
            await asyncio.sleep(0)
        return gone

    async def _parts(self, runs: Sequence[OldRun]) -> list[list[OldRun]]:
        engine = await self.engine()
        streams = [f"run:{run.id}" for run in runs]
        waiting = f"SELECT stream FROM jobs WHERE kind <> '{TidyDag.name}' AND stream IN ({marks(streams)})"
        owed = {row[0] for row in await engine.store.read(waiting, streams)}
        sizes = dict(await engine.store.read(f"SELECT stream, seq FROM heads WHERE stream IN ({marks(streams)})", streams))
        parts: list[list[OldRun]] = []
        events = BATCH_EVENTS
        for run, stream in zip(runs, streams, strict=True):
            if stream in owed:
                continue
            if events >= BATCH_EVENTS:
                parts.append([])
                events = 0
            parts[-1].append(run)
            events += sizes.get(stream, 0)
        return parts

    async def _remove(self, scope: Scope, runs: Sequence[OldRun], actor: Actor) -> None:
        engine = await self.engine()
        ids = [run.id for run in runs]
        steps = await engine.store.read(f"SELECT run, round, no FROM steps WHERE run IN ({marks(ids)})", ids)
        note = NoteRemoved(tuple((run.id, run.created_at) for run in runs))
        digest = hashlib.sha256(msgspec.json.encode(ids)).hexdigest()
        commands = (
            Command(sweeper_of(scope.workspace), note, scope),
            act(scope, actor, "runs.removed", ids[0], count=len(ids), last=ids[-1], digest=digest),
        )
        kept = await artifact_keys(engine.store, scope.workspace, RUN, ids)
        await engine.remove([f"run:{id_}" for id_ in ids], scope, {RUNS: ids, STEPS: steps, ARTIFACTS: kept}, commands)

    async def remove_below(self, scope: Scope, ids: Sequence[str]) -> None:
        """Remove what belongs to runs that are gone: the runs below them, and the deliveries that told of them."""
        engine = await self.engine()
        queries = (
            f"root IN ({marks(ids)}) AND parent_run <> ''",
            f"forked_from IN ({marks(ids)}) AND forked_from <> '' AND surface = '{NOTICES}'",
        )
        for where in queries:
            place = ""
            while rows := await engine.store.read(
                f"SELECT id, alias, created_at FROM runs WHERE {where} AND status = 'ended' AND id > ? ORDER BY id LIMIT {BATCH_RUNS}",
                (*ids, place),
            ):
                place = rows[-1][0]
                if len(await self.remove(scope, [OldRun(*row) for row in rows])) < len(rows):
                    raise Unavailable("runs below removed ones are still owed some work", hint="they are removed a little later")

    async def remove_files(self, runs: Iterable[tuple[str, int]]) -> None:
        now = (await self.engine()).clock.now()
        await asyncio.to_thread(remove_files, self._settings.data_dir, list(runs), now)

    async def sweep(self, scope: Scope) -> int:
        """Remove what is old, of every DAG; how many runs went."""
        engine, removed = await self.engine(), 0
        for name in await names_with((await self.engine()).store, scope, ""):
            try:
                keep = await self.keep(scope.workspace, name)
                removed += (await self.clean(scope, name, keep)).runs
            except NotFound:
                continue  # its last run went meanwhile
        past = engine.clock.now() - (max(0, self._settings.keep_days) or PAST_DAYS) * DAY_US
        await prune_past(engine, scope, ENDLESS, past)
        removed += await self._sweep_deliveries(scope)
        await forget_receipts(engine, past, _RUN_IS_KEPT)
        for sweep in self.along:
            await sweep()
        return removed

    async def _sweep_deliveries(self, scope: Scope) -> int:
        """Deliveries go with the run they tell of, and at the latest when runs would."""
        if self._settings.keep_days < 0:
            return 0
        engine = await self.engine()
        cutoff, removed, place = engine.clock.now() - self._settings.keep_days * DAY_US, 0, (-1, "")
        sql = (
            "SELECT id, alias, created_at FROM runs WHERE workspace = ? AND surface = ? AND parent_run = '' AND status = 'ended'"
            " AND created_at <= ? AND ended_at <= ? AND (created_at > ? OR (created_at = ? AND id > ?))"
            f" ORDER BY created_at, id LIMIT {BATCH_RUNS}"
        )
        while rows := await engine.store.read(sql, (scope.workspace, NOTICES, cutoff, cutoff, place[0], place[0], place[1])):
            place = (rows[-1][2], rows[-1][0])
            removed += len(await self.remove(scope, [OldRun(*row) for row in rows]))
        return removed


# -- jobs --------------------------------------------------------------------------------------------------------------


class Sweep(PlainJob):
    """The hourly sweep of a workspace."""

    name = "sweep"

    def __init__(self, retention: Retention, place: str) -> None:
        self._retention = retention
        self._place = place

    def place(self, job: Job) -> str:
        return self._place

    async def carry_out(self, job: Job) -> Any:
        engine = await self._retention.engine()
        removed = await self._retention.sweep(await engine.scope_of(job))
        more = removed > 0
        while more:
            more = await engine.store.compact()
        return EndSweep(removed)

    def broke(self, job: Job, error: Exception) -> Any:
        log.error("a sweep broke off, the next one comes in an hour: %s", error)
        return EndSweep(0)


class TidyDag(PlainJob):
    """After the end of a run whose DAG keeps only so many: the ones that are too many go at once."""

    name = "tidy_dag"

    def __init__(self, retention: Retention) -> None:
        self._retention = retention

    async def carry_out(self, job: Job) -> Any:
        engine, name = await self._retention.engine(), job.body["name"]
        try:
            scope = await engine.scope_of(job)
            await self._retention.clean(scope, name, await self._retention.keep(scope.workspace, name))
        except NotFound:
            return None  # the run that owed it, or all of its DAG, is gone already
        return None

    def broke(self, job: Job, error: Exception) -> Any | None:
        log.error("old runs of %s stay until the next sweep: %s", job.body.get("name"), error)
        return None


class RemoveRest(PlainJob):
    """What belongs to runs that are out of the store already: runs below them, deliveries, files."""

    name = "remove_rest"

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def carry_out(self, job: Job) -> Any:
        engine = await self._retention.engine()
        runs = [(str(id_), int(created_at)) for id_, created_at in job.body["runs"]]
        async with self._turns:
            await self._retention.remove_below(await engine.scope_of(job), [id_ for id_, _ in runs])
            await self._retention.remove_files(runs)

    def broke(self, job: Job, error: Exception) -> Any | None:
        log.error("files of removed runs may be left in the data folder: %s", error)
        return None


# -- files -------------------------------------------------------------------------------------------------------------


def remove_files(data_dir: Path, runs: Sequence[tuple[str, int]], now: int) -> None:
    """Remove the log and scratch folders of runs, and days that are empty then. Only real folders at their own place below the data
    folder are removed, and links in them are unlinked, never followed: what a step wrote elsewhere is not ours."""
    logs, work = data_dir / "logs", data_dir / "work"
    today = f"{datetime.fromtimestamp(now / 1_000_000, UTC):%Y/%m/%d}"
    days: set[Path] = set()
    for run, created_at in runs:
        folder = run_folder(logs, run, created_at)
        remove_folder(folder, logs)
        remove_folder(work / run, work)
        if folder.parent.relative_to(logs).as_posix() < today:
            days.add(folder.parent)
    for day in days:
        for empty in (day, day.parent, day.parent.parent):
            if not remove_empty(empty):
                break


def remove_folder(folder: Path, below: Path) -> None:
    """Remove a folder that really lies below another one. What cannot be removed is told in the log and stays."""
    if folder.is_symlink():
        remove_linked(folder)
    if folder.is_symlink() or not folder.is_dir():
        return
    if Path(os.path.realpath(folder)).parent != Path(os.path.realpath(below), folder.parent.relative_to(below)):
        log.warning("%s is not removed: a link leads there", folder)
        return
    failed: list[str] = []
    shutil.rmtree(folder, onerror=lambda _, path, fault: failed.append(f"{path}: {fault[1]}"))
    if failed:
        log.warning("files of a removed run stay: %s", failed[0])


def remove_linked(link: Path) -> None:
    """Remove a run's logs that the DAG's `logDir` put elsewhere, and the link to them; they are known by the mark in them."""
    target = Path(os.path.realpath(link))
    try:
        ours = (target / RUN_MARK).read_text() == link.name
    except (OSError, UnicodeDecodeError):
        return
    if ours:
        shutil.rmtree(target, onerror=lambda _, path, fault: log.warning("%s stays: %s", path, fault[1]))
        link.unlink()


def remove_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False  # not empty
    return True
