"""`ar.build` and `ar.build_aio`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from typing import Any, Literal, TypeVar
from uuid import UUID

from ...errors import Invalid
from ..registry.api import APIRegistry
from ..registry.entry import default_registry
from ..registry.item import Order
from ..registry.lenient import LenientRegistry
from ..registry.lock import LockedRecord
from ..registry.port import Registry
from ..target.root import are_chosen, forget_roots, use_target_roots
from ..task.task import Task
from .claim import Claim
from .executor import Executor, Mode, executor_of
from .progress import Progress, Shown
from .scheduler import Scheduler, Wish, Wrap
from .summary import BuildSummary

T = TypeVar("T")
FailMode = Literal["fail_fast", "continue"]
LOCK_S = 60
"""Seconds a global lock holds without a renewal (Stardag)."""


def build(tasks: Task[Any] | Iterable[Task[Any]], **options: Any) -> BuildSummary:
    """Make these tasks and all they need; what is made already is used as it is. Options: see `build_aio`.

    May be called where an event loop runs (a notebook): the build then has a thread of its own, and this call waits for it."""
    loop = asyncio.new_event_loop()
    running = loop.create_task(build_aio(tasks, **options))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(loop, running)
    return _run_aside(loop, running)


async def build_aio(
    tasks: Task[Any] | Iterable[Task[Any]],
    *,
    mode: Mode = "threads",
    fail_mode: FailMode = "fail_fast",
    registry: Registry | None = None,
    max_concurrent: int = 10,
    max_concurrent_discover: int = 50,
    resume_build_id: UUID | str | None = None,
    description: str | None = None,
    settings: Mapping[str, str] | None = None,
    limit_keys: Callable[[Task[Any]], Sequence[str]] = lambda task: (),
    limits: Mapping[str, int] = {},
    claim: Claim = Claim(),
    global_lock: bool | Callable[[Task[Any]], bool] = False,
    register_all: bool = False,
    on_registry_failure: Literal["raise", "warn"] = "raise",
    progress: Shown = None,
    raise_on_failure: bool = True,
) -> BuildSummary:
    """Make these tasks and all they need, up to `max_concurrent` at a time.

    `mode`: where bodies run. `sequential` one after the other, here; `threads`; `processes` (bodies and their classes must be
    importable); `async` all in the loop. Async bodies run in the loop in every mode.
    `fail_mode`: after a failure `fail_fast` starts nothing more (what runs is finished and kept) and raises `BuildFailed` unless
    `raise_on_failure` is False; `continue` makes whatever does not need the failed task, and returns the summary.
    `registry`: who records the build and whom claims are got from; the configured one by default. `resume_build_id`: go on with a
    build of it. `settings` are part of the plan's identity there, `limit_keys` names the concurrency limits a task counts
    against: those in `limits` (key → most at a time) are kept by this build alone, the others by the registry. `register_all`: tell the
    registry also what lies below tasks that are made. `on_registry_failure`: `"warn"` goes on without a registry that does not answer.
    `global_lock`: take a lock of `/api/v1` too (for all tasks, or for those the function chooses).
    `progress`: a bar on standard error; by default when that is a terminal. `"lines"`: a line for each task that ends.

    Ctrl-C stops the build: targets are whole or absent, claims are given back, and the same call goes on from there. Raises
    `BuildFailed`; `Invalid` for tasks that need each other in a circle; what a registry refuses."""
    roots = _roots(tasks)
    _check(min(max_concurrent, max_concurrent_discover), fail_mode, on_registry_failure)
    chosen = registry if registry is not None else default_registry()
    lock = _locking(chosen, global_lock)
    chosen = LenientRegistry(chosen) if on_registry_failure == "warn" else chosen
    wish = Wish(
        order=_order(description, resume_build_id, settings, claim),
        claim=claim,
        go_on_after_failure=fail_mode == "continue",
        max_concurrent=1 if mode == "sequential" else max_concurrent,
        max_concurrent_discover=max_concurrent_discover,
        limit_keys=limit_keys,
        limits=_limits(limits),
        register_all=register_all,
    )
    summary = await _carry_out(roots, chosen, executor_of(mode, max_concurrent), wish, lock, Progress(progress))
    if raise_on_failure and fail_mode == "fail_fast":
        summary.raise_on_failure()
    return summary


async def _carry_out(
    roots: Sequence[Task[Any]], registry: Registry, executor: Executor, wish: Wish, lock: Wrap, progress: Progress
) -> BuildSummary:
    """The build, below the target roots its registry names."""
    try:
        told = None if are_chosen() else await asyncio.to_thread(registry.target_roots)
        with use_target_roots(told) if told is not None else nullcontext():
            return await Scheduler(registry, executor, wish, progress, lock).run(roots)
    finally:
        executor.close()
        forget_roots()


def _check(at_once: int, fail_mode: str, on_registry_failure: str) -> None:
    if at_once < 1:
        raise Invalid(
            "max_concurrent and max_concurrent_discover are at least 1", hint='mode="sequential" makes one task at a time'
        )
    if fail_mode not in ("fail_fast", "continue"):
        raise Invalid(f"there is no fail mode {fail_mode!r}", hint="fail_fast or continue")
    if on_registry_failure not in ("raise", "warn"):
        raise Invalid(f"on_registry_failure is raise or warn, not {on_registry_failure!r}")


def _limits(limits: Mapping[str, int]) -> Mapping[str, int]:
    wrong = next((key for key, most in limits.items() if most < 1), None)
    if wrong is not None:
        raise Invalid(f"the limit {wrong!r} of a build is at least 1, not {limits[wrong]}", hint="nothing with it could ever run")
    return dict(limits)


def _order(
    description: str | None, resume_build_id: UUID | str | None, settings: Mapping[str, str] | None, claim: Claim
) -> Order:
    return Order(
        description=description,
        resume_build_id=str(resume_build_id) if resume_build_id else None,
        settings=None if settings is None else dict(settings),
        ttl_s=claim.ttl_s,
    )


def _roots(tasks: Task[Any] | Iterable[Task[Any]]) -> list[Task[Any]]:
    roots = [tasks] if isinstance(tasks, Task) else list(tasks)
    wrong = next((one for one in roots if not isinstance(one, Task)), None)
    if wrong is not None or not roots:
        raise Invalid(
            f"expected tasks to build, found {'none' if not roots else repr(wrong)[:80]}", hint="call the task: total(values=…)"
        )
    return roots


def _locking(registry: Registry, wanted: bool | Callable[[Task[Any]], bool]) -> Wrap:
    """How a build's record is wrapped to take locks too."""
    if wanted is False:
        return lambda record, task_of: record
    if not isinstance(registry, APIRegistry):
        raise Invalid("a global lock needs a registry that keeps it", hint="ar.APIRegistry(api_url=…)")
    session, chosen = registry.session, wanted if callable(wanted) else (lambda task: True)
    return lambda record, task_of: LockedRecord(record, session, lambda name: chosen(task_of(name)), LOCK_S)


def _run(loop: asyncio.AbstractEventLoop, running: asyncio.Task[T]) -> T:
    """Run in a loop of our own. Ctrl-C, or the end of the program by a signal, is raised where it hits, also inside a body, and the build
    is broken off before it goes on."""
    try:
        return loop.run_until_complete(running)
    except (KeyboardInterrupt, SystemExit):
        running.cancel()
        loop.run_until_complete(asyncio.wait([running]))
        raise
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _run_aside(loop: asyncio.AbstractEventLoop, running: asyncio.Task[T]) -> T:
    """The same in a thread, while this one waits. Ctrl-C breaks the build off; a body that runs in a thread ends by itself."""
    with ThreadPoolExecutor(1, thread_name_prefix="astrarium-build") as pool:
        ended = pool.submit(copy_context().run, _run, loop, running)
        try:
            return ended.result()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(running.cancel)
            raise
