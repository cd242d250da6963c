"""The one loop of a build: takes what is ready, claims it, runs it, reports it, and looks what that made ready."""

from __future__ import annotations

import asyncio
import logging
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ...errors import AstrariumError, Held, Invalid
from ...spec.ids import uuid7
from ..registry.item import Denied, Order, Place
from ..registry.port import BuildRecord, Registry
from ..task.task import Task
from .claim import Claim, Renewal
from .executor import Executor, place_of
from .frontier import Frontier
from .limit import LocalLimits
from .outcome import line_of, outcome_of, text_of
from .plan import Found, describe, discover, item_of, read_task, seen
from .progress import Progress
from .summary import BuildStatus, BuildSummary, TaskCount

log = logging.getLogger("astrarium.sdk")
END_WAITS_S = (0.0, 0.5, 1.0, 2.0)
"""Before the registry is told again what it lacks at the end of a build."""
Wrap = Callable[[BuildRecord, Callable[[str], Task[Any]]], BuildRecord]
"""Puts something around a build's record, and may ask for the task of an id."""


class Wish(msgspec.Struct, kw_only=True):
    """How a build is to be done: see `ar.build`."""

    order: Order
    claim: Claim
    go_on_after_failure: bool
    max_concurrent: int
    max_concurrent_discover: int
    limit_keys: Callable[[Task[Any]], Sequence[str]]
    limits: Mapping[str, int] = {}
    register_all: bool = False


class _Ended(msgspec.Struct):
    """How one turn of a task ended: `made` (here, or `found` made elsewhere), `dropped` (the build ended before its turn), or waiting
    for `needs`, or with an `error`."""

    made: bool = False
    found: bool = False
    dropped: bool = False
    needs: tuple[Task[Any], ...] = ()
    error: BaseException | None = None


class Scheduler:
    """One build, from discovery to the summary. `record_of` opens it in the registry."""

    def __init__(self, registry: Registry, executor: Executor, wish: Wish, progress: Progress, wrap: Wrap) -> None:
        self._registry = registry
        self._executor = executor
        self._wish = wish
        self._progress = progress
        self._wrap = wrap
        self._found: dict[str, Found] = {}
        self._frontier = Frontier()
        self._limits = LocalLimits(wish.limits, lambda name: wish.limit_keys(self._found[name].task))
        self._claims: dict[str, str] = {}
        self._live: dict[asyncio.Task[_Ended], str] = {}
        self._count = TaskCount()
        self._failed: tuple[str, BaseException] | None = None
        self._stopped: Denied | None = None
        self._room = asyncio.Semaphore(wish.max_concurrent)
        self._asleep = 0
        self._nudge: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._place: Place
        self._record: BuildRecord
        self._renewal: Renewal

    async def run(self, roots: Sequence[Task[Any]]) -> BuildSummary:
        """Make the roots and all they need. Raises what discovery and the registry raise; what bodies raise is in the summary."""
        self._progress.begin()
        try:
            found = await self._discover(roots, lambda name: False)
            heads = [item_of(found[str(root.id)], found, expanded=False) for root in _once(roots)] if self._registry.keeps else []
            opened = await asyncio.to_thread(self._registry.open_build, heads, self._wish.order)
            self._record = self._wrap(opened, lambda name: self._found[name].task)
            self._place = place_of(self._executor)
            self._renewal = Renewal(self._record)
            with self._renewal:
                return await self._guarded(found)
        finally:
            self._progress.end()

    async def _discover(self, tasks: Iterable[Task[Any]], known: Callable[[str], bool]) -> dict[str, Found]:
        return await discover(tasks, known, self._wish.max_concurrent_discover, all_below=self._wish.register_all)

    async def _tell(self, call: Callable[..., None], *told: Any) -> None:
        """Tell the record something, in a thread unless nobody listens."""
        if self._registry.keeps:
            await asyncio.to_thread(call, *told)

    async def _guarded(self, found: dict[str, Found]) -> BuildSummary:
        """The build; whoever breaks it off leaves it so that it can be gone on with."""
        try:
            if self._registry.keeps:
                await self._tell(self._record.register, [item_of(one, found) for one in found.values()])
                await self._tell(self._record.seal)
            self._enter(found)
            await self._loop()
            return await self._close()
        except BaseException as error:
            await asyncio.shield(self._break_off(error))
            raise

    def _enter(self, found: dict[str, Found]) -> None:
        for name, one in found.items():
            if name not in self._frontier:
                self._found[name] = one
                self._frontier.add(name, [str(need.id) for need in one.needs or ()], done=one.complete)
                self._count.discovered += 1
                self._count.previously_completed += one.complete
                if one.complete:
                    self._progress.told(describe(one.task), "found")

    async def _loop(self) -> None:
        while True:
            if self._going_on():
                self._begin_ready()
            else:
                self._over.set()
            if not self._live:
                circle = self._frontier.waiting() if self._going_on() else []
                if not circle:
                    return
                await self._fail(
                    circle[0], Invalid("it needs itself, through tasks its body yields", hint="see what run() yields")
                )
                continue
            self._progress.tell(self._count, len(self._live))
            for one in await self._ended():
                await self._settle(self._live.pop(one), one.result())

    def _begin_ready(self) -> None:
        """Begin what is ready, as far as there is room; what finds none under a limit of this build comes back when there is."""
        while room := max(0, self._wish.max_concurrent - len(self._live) + self._asleep):
            taken = self._frontier.take(room)
            if not taken:
                return
            for name in taken:
                if self._limits.enter(name):
                    self._live[asyncio.ensure_future(self._turn(self._found[name].task))] = name

    async def _ended(self) -> list[asyncio.Task[_Ended]]:
        """The turns that are over, once there are some; none when there is room for more tasks meanwhile."""
        if self._nudge.done():
            self._nudge = asyncio.get_running_loop().create_future()
        awaited: list[asyncio.Future[Any]] = [self._nudge, *self._live]
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        return [one for one in self._live if one.done()]

    def _going_on(self) -> bool:
        return self._stopped is None and (self._failed is None or self._wish.go_on_after_failure)

    async def _settle(self, name: str, ended: _Ended) -> None:
        for other in self._limits.leave(name):
            self._frontier.put_back(other)
        if ended.made:
            self._frontier.finish(name)
            self._count.previously_completed += ended.found
            self._count.succeeded += not ended.found
            self._progress.told(describe(self._found[name].task), "found" if ended.found else "made")
        elif ended.dropped:
            self._frontier.taken.discard(name)
        elif ended.error is not None:
            if isinstance(ended.error, Denied) and ended.error.code == Denied.STOPPED:
                self._stopped = ended.error
                self._frontier.taken.discard(name)
            else:
                await self._fail(name, ended.error)
        else:
            lost = self._frontier.wait(name, [str(need.id) for need in ended.needs])
            if lost:
                await self._fail(name, Invalid(f"it waits for {describe(self._found[lost[0]].task)}, which is not made"))

    async def _fail(self, name: str, error: BaseException) -> None:
        """A task failed: what needs it is skipped, and bodies that wait for it are broken off and fail too."""
        self._count.failed += 1
        self._progress.told(describe(self._found[name].task), "failed")
        self._failed = self._failed or (name, error)
        if name in self._claims:
            await self._give_back(name, lambda execution: self._record.fail(name, execution, text_of(error)))
        gone = self._frontier.fail(name)
        for one in gone:
            if one in self._claims:
                why = f"it waits for {describe(self._found[name].task)}, which failed"
                await self._give_back(one, lambda execution, one=one, why=why: self._record.fail(one, execution, why))  # type: ignore[misc]
        self._count.skipped += len(gone)
        await self._tell(self._record.skip_blocked)

    async def _turn(self, task: Task[Any]) -> _Ended:
        async with self._room:
            return await self._work(task) if self._going_on() else _Ended(dropped=True)

    async def _work(self, task: Task[Any]) -> _Ended:
        """One turn: claim it unless it is ours already, run the body as far as it goes, and report what came of it."""
        name = str(task.id)
        if name not in self._claims:
            claimed = await outcome_of(self._claim(task))
            if isinstance(claimed, Denied | Held):
                return _Ended(error=claimed)
            if isinstance(claimed, BaseException):
                raise claimed
            if claimed is not None:
                return claimed  # type: ignore[no-any-return]
        ran = await outcome_of(self._executor.go_on(task))
        if isinstance(ran, BaseException):
            return _Ended(error=ran)
        if ran:
            found = await outcome_of(self._discover(ran, self._frontier.__contains__))
            return _Ended(error=found) if isinstance(found, BaseException) else await self._add(task, ran, found)
        told = (
            await outcome_of(asyncio.to_thread(lambda: [one.told() for one in task.artifacts()])) if self._registry.keeps else ()
        )
        if isinstance(told, BaseException):
            return _Ended(error=told)
        await self._give_back(name, lambda execution: self._record.complete(name, execution, told))
        return _Ended(made=True)

    async def _claim(self, task: Task[Any]) -> _Ended | None:
        """Claim a task; how its turn ends when it is not to be run. Raises `Denied` when the build is over, `Held` when whoever has the
        task does not end."""
        name, limits = str(task.id), [key for key in self._wish.limit_keys(task) if key not in self._wish.limits]
        claim, execution = self._wish.claim, uuid7()
        waited_s, wait_s = 0.0, claim.first_wait_s
        while True:
            try:
                await self._tell(self._record.start, name, execution, self._place, limits)
            except Denied as denied:
                if denied.code == Denied.COMPLETED:
                    return _Ended(made=True, found=True)
                if denied.code == Denied.USED:
                    execution = uuid7()
                    continue
                if denied.code not in Denied.GRANTABLE:
                    raise
                if denied.code == Denied.UPSTREAM and (needs := await self._left_over(task)):
                    return _Ended(needs=needs)
                if waited_s >= claim.give_up_s:
                    raise Held(
                        f"{describe(task)} was not free for {waited_s:g} s: {denied.message}",
                        hint="another build makes it: wait for that, or longer with claim=ar.Claim(give_up_s=…)",
                    ) from denied
            else:
                self._claims[name] = execution
                self._renewal.hold(name, execution)
                if waited_s and await task.complete_aio():  # made while we waited, and nobody had told
                    await self._give_back(name, lambda execution: self._record.complete(name, execution, ()))
                    return _Ended(made=True, found=True)
                return None
            await self._sleep(wait_s)
            if not self._going_on():
                return _Ended(dropped=True)
            waited_s, wait_s = waited_s + wait_s, min(2 * wait_s, claim.most_wait_s)
            if await task.complete_aio():
                return _Ended(made=True, found=True)

    async def _left_over(self, task: Task[Any]) -> tuple[Task[Any], ...]:
        """What a task waits for in the registry though it has all it needs: tasks that an execution asked for which was abandoned. They
        are entered here. What is made, and was not told by who made it, is told now. Raises `Held` when one cannot be made here."""
        told = await asyncio.to_thread(self._record.open_upstreams, str(task.id), self._frontier.__contains__)
        fresh = []
        for one in (one for one in told if one.bodies):
            try:
                fresh.append(read_task(one))
            except AstrariumError as error:
                why = (
                    f"{describe(task)} waits for task {one.task_id}, which an earlier execution of it asked for: {error.message}"
                )
                raise Held(why, hint=error.hint) from error
        found = await self._discover(fresh, self._frontier.__contains__)
        known = ChainMap(self._found, found)
        made = [seen(self._found[one.task_id].task, True) for one in told if one.task_id in self._frontier.done]
        items = [item_of(one, known, expanded=False) for one in made] + [item_of(one, known) for one in found.values()]
        if items:
            await self._tell(self._record.register, items)
        self._enter(found)
        return tuple(fresh)

    async def _sleep(self, wait_s: float) -> None:
        """Wait before a task is asked for again, or until the build ends; others may run meanwhile."""
        self._room.release()
        self._asleep += 1
        if not self._nudge.done():
            self._nudge.set_result(None)
        try:
            await asyncio.wait_for(self._over.wait(), wait_s)
        except TimeoutError:
            pass  # the usual end of a wait
        finally:
            self._asleep -= 1
            await self._room.acquire()

    async def _add(self, task: Task[Any], needs: Sequence[Task[Any]], found: dict[str, Found]) -> _Ended:
        """A body asked for tasks: tell the registry, and enter what is new."""
        name = str(task.id)
        try:
            if self._registry.keeps:
                known = ChainMap(self._found, found)
                items = {str(need.id): item_of(self._known(need), known) for need in needs if str(need.id) not in found}
                items |= {other: item_of(one, known) for other, one in found.items()}
                hashes = [items[str(need.id)].instance_hash for need in _once(needs)]
                await self._tell(self._record.add, name, self._claims[name], list(items.values()), hashes)
        except Denied as denied:
            return _Ended(error=denied)
        self._enter(found)
        return _Ended(needs=tuple(needs))

    def _known(self, task: Task[Any]) -> Found:
        """A task of the build as it is now: one that was made in between is told as made."""
        known = self._found[str(task.id)]
        if str(task.id) not in self._frontier.done or known.complete:
            return known
        return msgspec.structs.replace(known, complete=True)

    async def _give_back(self, name: str, report: Callable[[str], None]) -> None:
        """Report how an execution ended; the claim is not ours any more."""
        execution = self._claims.pop(name)
        self._renewal.release(name)
        await self._executor.drop(self._found[name].task)
        await self._tell(report, execution)

    async def _close(self) -> BuildSummary:
        """Nothing runs any more: give back what waits, say how the build ended."""
        for name in list(self._claims):
            await self._give_back(name, lambda execution, name=name: self._record.interrupt(name, execution, "the build ended"))  # type: ignore[misc]
        self._count.cancelled = self._count.pending
        self._progress.tell(self._count, 0)
        status, error = BuildStatus.SUCCESS, self._failed[1] if self._failed else None
        if self._stopped is not None:
            status, error = BuildStatus.STOPPED, self._stopped
        elif self._failed is not None:
            status = BuildStatus.FAILURE
            await self._tell(self._record.end, "failure", self._why())
        else:
            await self._end_well()
        return BuildSummary(
            status=status,
            task_count=self._count,
            build_id=self._record.build_id,
            failed_task=self._failed[0] if self._failed else None,
            error=error,
        )

    async def _end_well(self) -> None:
        """All roots are made. Where the registry lacks the report of who made a task (they died, or had it taken away), it is told what we
        saw, as soon as their claim does not speak against that; at last it is told to trust us."""
        for wait_s in END_WAITS_S:
            try:
                return await self._tell(self._record.end, "success", None)
            except Denied as denied:
                missing = [self._found[one].task for one in denied.details.get("task_ids", ()) if one in self._frontier.done]
            await asyncio.sleep(wait_s)
            await self._tell(self._record.register, [item_of(seen(one, True), self._found, expanded=False) for one in missing])
        log.warning("build %s is complete, and the registry lacks reports of some of its tasks", self._record.build_id)
        await self._tell(self._record.end, "forced", None)

    def _why(self) -> str:
        assert self._failed is not None
        name, error = self._failed
        blocked = f"; {self._count.skipped} downstream blocked" if self._count.skipped else ""
        return f"task {describe(self._found[name].task)} failed: {line_of(error)}{blocked}"

    async def _break_off(self, error: BaseException) -> None:
        """Broken off (Ctrl-C, a registry that is gone): stop async bodies, free what is claimed, so that a resume finds it startable."""
        for one in self._live:
            one.cancel()
        if self._live:
            await asyncio.wait(self._live)
        for name in list(self._claims):
            await outcome_of(
                self._give_back(name, lambda execution, name=name: self._record.interrupt(name, execution, line_of(error)))  # type: ignore[misc]
            )
        await outcome_of(self._tell(self._record.end, "exit_early", line_of(error)))


def _once(tasks: Iterable[Task[Any]]) -> list[Task[Any]]:
    return list({str(task.id): task for task in tasks}.values())
