"""Keeps schedules in step with the folder of DAG files, and with the file of what all of them have in common: at the start, and
whenever something in it changes.

A change only says *that* the folder moved; what it holds now is read anew. So nothing is missed that comes in a burst, by a rename
or by the exchange of the folder itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...errors import AstrariumError
from ...kernel.engine import Engine
from ...kernel.types import Actor, Command, Scope
from ...lazy import library
from ...runs.ports.code import stamp_of
from ...store.log import FollowedFiles, appears, wait_for_news
from .catalog import SUFFIXES, Catalog, Entry
from .machines.plan import Plan
from .machines.slot import ScheduleSet, SetSchedule
from .views.schedule import schedule_plans
from .work.schedule import saying_of

if TYPE_CHECKING:
    import watchfiles
else:
    watchfiles = library("watchfiles")

log = logging.getLogger("astrarium.dags")
AGAIN_S = 1.0
"""How long after a failure (the store, the folder, the system's limit of watches) it is tried again."""
BURST_MS = 500
STEP_MS = 100
WATCHER = Actor("watch", "")


class Watcher:
    """`open` reads the folder and begins to watch it; `close` ends that. `own`: the data folder, whose changes are no news where it
    lies among the DAG files."""

    def __init__(self, catalog: Catalog, engine: Engine, scope: Scope, zone: str, own: Path) -> None:
        self.catalog = catalog
        self.engine = engine
        self.scope = scope
        self.zone = zone
        self.own = own
        self._told: dict[str, SetSchedule] = {}
        self._moved = asyncio.Event()
        self._moved.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._complained = ""
        self._behind = self._blind = False

    @property
    def well(self) -> bool:
        """Whether nothing keeps the schedules from saying what the files do, and us from seeing these change."""
        return bool(self._tasks) and not (self._behind or self._blind or any(task.done() for task in self._tasks))

    def open(self) -> None:
        self.engine.registry.listen(ScheduleSet, self._heard)
        self._tasks = [
            asyncio.create_task(self._sync_loop(), name="astrarium-schedules"),
            asyncio.create_task(self._watch_loop(), name="astrarium-watch"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- from files to schedules --------------------------------------------------------------------------------------

    async def _sync_loop(self) -> None:
        await self._recall()
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                await self.sync()
                self._behind = False
            except AstrariumError as error:
                self._behind = True
                self._complain(f"the schedules are not in step with {self.catalog.folder}: {error}")
                await asyncio.sleep(AGAIN_S)
                self._moved.set()

    def _complain(self, what: str) -> None:
        """Once, not each time it is tried again."""
        if what != self._complained:
            log.warning("%s", what)
            self._complained = what

    async def _recall(self) -> None:
        """What the schedules were told before this process began."""
        while True:
            try:
                for name, (plan, trouble) in (await schedule_plans(self.engine.store, self.scope)).items():
                    told = msgspec.json.decode(plan, type=Plan | None)
                    self._told[name] = SetSchedule(trouble=trouble) if trouble else SetSchedule(told)
                return
            except AstrariumError as error:
                log.warning("the schedules cannot be read yet: %s", error)
                await asyncio.sleep(AGAIN_S)

    async def sync(self) -> None:
        """Tell every schedule whose file says something else than before. Raises what the store or the folder refuse."""
        entries = await asyncio.to_thread(self.catalog.entries)
        present: dict[str, Entry] = {}
        for entry in entries:
            kept = present.get(entry.stem)
            if kept is None or (kept.problems and not entry.problems):
                present[entry.stem] = entry
        sayings = {name: saying_of(entry, self.catalog, self.zone) for name, entry in present.items()}
        sayings |= {name: SetSchedule(gone=True) for name in self._told if name not in present}
        changed = {name: said for name, said in sayings.items() if said != self._told.get(name, SetSchedule())}
        await self.engine.memory.load_many([f"schedule:{name}" for name in changed], self.scope)
        told = await asyncio.gather(*(self._tell(name, said) for name, said in changed.items()), return_exceptions=True)
        for name, outcome in zip(changed, told, strict=True):
            if not isinstance(outcome, BaseException):
                self._told[name] = changed[name]
                if changed[name].gone:
                    del self._told[name]
        wrong = [outcome for outcome in told if isinstance(outcome, BaseException)]
        if wrong:
            raise wrong[0]

    def _heard(self, stream: str, event: ScheduleSet) -> None:
        """A schedule was told something, by us or by who decides its slots, here or on another server."""
        name = stream.partition(":")[2]
        if event.gone:
            self._told.pop(name, None)
        else:
            self._told[name] = SetSchedule(trouble=event.trouble) if event.trouble else SetSchedule(event.plan)

    async def _tell(self, name: str, said: SetSchedule) -> None:
        await self.engine.submit(Command(f"schedule:{name}", said, self.scope, WATCHER))

    # -- watching -----------------------------------------------------------------------------------------------------

    async def _watch_loop(self) -> None:
        while True:
            try:
                await self._watch_once()
            except (OSError, RuntimeError) as error:  # the folder vanished meanwhile, or the system allows no more watches
                self._blind = True
                self._complain(f"{self.catalog.folder} cannot be watched: {error}")
                await asyncio.sleep(AGAIN_S)
            self._moved.set()

    async def _watch_once(self) -> None:
        """Watch until what is watched must be chosen anew: the folder came, went, or is another one now."""
        folder = self.catalog.folder
        if not folder.is_dir():
            asyncio.get_running_loop().call_soon(self._stands)
            await appears(folder)
            return
        watches = [asyncio.ensure_future(self._inside(folder))]
        if folder.is_symlink():
            watches.append(asyncio.ensure_future(self._exchanged(folder)))
        if self.catalog.inherited is not None:
            watches.append(asyncio.ensure_future(self._inherited(self.catalog.inherited)))
        try:
            await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for watch in watches:
                watch.cancel()
            done = await asyncio.gather(*watches, return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, Exception):
                raise outcome

    async def _inside(self, folder: Path) -> None:
        real = Path(os.path.realpath(folder))
        identity = identity_of(folder)
        asyncio.get_running_loop().call_soon(self._stands)
        watching = watchfiles.awatch(real, watch_filter=self._news(real), debounce=BURST_MS, step=STEP_MS, recursive=True)
        async for _ in watching:
            self._moved.set()
            if identity_of(folder) != identity:
                return

    def _stands(self) -> None:
        """A watch was begun. What moved before it stood is seen now."""
        self._blind = False
        self._moved.set()

    def _news(self, folder: Path) -> Callable[[watchfiles.Change, str], bool]:
        """Which changes may change what the folder holds: of DAG files and folders, not of what lies beside them."""
        own = os.path.realpath(self.own)
        hidden = own + os.sep if own.startswith(str(folder) + os.sep) else "\0"

        def news(change: watchfiles.Change, path: str) -> bool:
            if path.startswith(hidden):
                return False
            if change is not watchfiles.Change.modified or path.endswith(SUFFIXES):
                return True
            name = os.path.basename(path)
            return "." not in name or name.startswith("..")

        return news

    async def _inherited(self, file: Path) -> None:
        """The file whose content every DAG has, too, wherever it lies: its folder may be the data folder, whose other files are no
        news, nor worth a watch that tells of each write to them."""
        files, changed = FollowedFiles(), asyncio.Event()
        try:
            with files.follow(file, changed) as itself, files.follow(file.parent, changed) as folder:
                asyncio.get_running_loop().call_soon(self._stands)
                seen = stamp_of(file)
                while True:
                    changed.clear()
                    itself.arm()
                    folder.arm()
                    before, seen = seen, stamp_of(file)
                    if seen != before:
                        self._moved.set()
                    await wait_for_news(changed, AGAIN_S if folder.blind else None)
        finally:
            files.close()

    async def _exchanged(self, folder: Path) -> None:
        """A link that names another folder tells nothing to who watches the old one."""
        identity = identity_of(folder)
        async for _ in watchfiles.awatch(folder.parent, watch_filter=None, debounce=BURST_MS, step=STEP_MS, recursive=False):
            if identity_of(folder) != identity:
                return


def identity_of(folder: Path) -> tuple[int, int] | None:
    """Tells one folder from another of the same name."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
