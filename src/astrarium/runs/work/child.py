"""Runs that work for a step: started, told of, stopped."""

from __future__ import annotations

import contextlib
from typing import Any

from ...errors import AstrariumError, NotFound, Refused, Unavailable
from ...kernel.slots import PlainJob
from ...kernel.types import Command, Job
from ...spec.ids import uuid7
from ..message import (
    EndChild,
    Parent,
    ReopenRun,
    StartRun,
    StopRun,
)
from ..ports import Used
from ..row import output_variables
from ..state import RunState
from .workshop import Workshop

MOST_CAUSE = 500


class TellParent(PlainJob):
    """A child's end reaches its parent as a command of its own."""

    name = "tell_parent"

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    async def carry_out(self, job: Job) -> Any:
        state = await self._shop.load(job)
        if state is not None and state.status != "ended":
            await self._shop.engine.refresh(job.stream)  # another server may have ended it, or opened it again
            state = await self._shop.load(job)
        if state is None or state.parent is None or state.status != "ended":
            return None
        parent = state.parent
        error = "" if state.outcome in ("succeeded", "partial") else cause_of(state)
        told = EndChild(
            parent.no,
            parent.index,
            parent.round,
            state.run,
            state.outcome or "failed",
            output_variables(state),
            error,
            state.alias,
            last_state(state),
            last_used(state),
        )
        try:
            await self._shop.engine.submit(Command(f"run:{parent.run}", told, state.scope))
        except (Refused, NotFound):
            return None
        return None


class StartChild(PlainJob):
    """Starts one run under a step, or finds the one an earlier round started: kept if it went well, reopened if not."""

    name = "start_child"

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    async def carry_out(self, job: Job) -> Any:
        state = await self._shop.load(job)
        no, index = job.body["no"], job.body["index"]
        step = state.steps.get(no) if state is not None else None
        if state is None or step is None or step.children is None or job.body["round"] != state.round:
            return None
        if step.children.states[index].outcome is not None:
            return None  # somebody had reopened the child by hand, and its end came first
        if state.status == "stopping":
            return EndChild(no, index, state.round, outcome="cancelled", error="stopped before it started")
        child = step.children.specs[index]
        parent = Parent(state.run, state.round, no, index)
        engine, scope = self._shop.engine, state.scope
        try:
            earlier = await self._shop.child_run(state, child.key)
            if earlier is None:
                start = StartRun(
                    child.graph, child.name, state.surface, child.key, child.params, "child",
                    parent=parent, root=state.root, depth=state.depth + 1, labels=state.labels, state=child.state,
                )  # fmt: skip
                key = f"child:{state.run}:{state.round}:{no}:{index}:{step.try_no}"
                begun = await engine.submit(Command(f"run:{uuid7()}", start, scope, key=key))
                await self._stop_late(job, begun.stream)
                return None
            run, known = earlier
            if known.status != "ended":
                return None
            if known.outcome in ("succeeded", "partial"):
                given = output_variables(known)
                return EndChild(no, index, state.round, run, known.outcome, given, state=last_state(known), used=last_used(known))
            begun = await engine.submit(Command(f"run:{run}", ReopenRun(parent=parent), scope))
            await self._stop_late(job, begun.stream)
        except Unavailable:
            raise
        except AstrariumError as error:
            return EndChild(no, index, state.round, outcome="failed", error=error.message)
        return None

    async def _stop_late(self, job: Job, child: str) -> None:
        """A stop of the parent that came while the child was being started has not seen it."""
        state = await self._shop.load(job)
        if state is not None and state.status == "stopping":
            order = StopRun(state.stop_outcome or "cancelled", "parent_stopped", grace_s=state.stop_grace_s)
            with contextlib.suppress(Refused):  # it ended meanwhile
                await self._shop.engine.submit(Command(child, order, state.scope))

    def broke(self, job: Job, error: Exception) -> Any:
        return EndChild(job.body["no"], job.body["index"], job.body["round"], outcome="broken", error=str(error))


class StopChildren(PlainJob):
    """A stopped run's children stop too."""

    name = "stop_children"

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    async def carry_out(self, job: Job) -> Any:
        run = job.stream.partition(":")[2]
        body = job.body
        order = StopRun(body["outcome"], "parent_stopped", body["mode"], body["grace_s"])
        state = await self._shop.load(job)
        if state is None:
            return None
        for child in await self._shop.live_children(run, body.get("no")):
            try:
                await self._shop.engine.submit(Command(f"run:{child}", order, state.scope))
            except Refused:
                continue  # it ended meanwhile
        return None


def cause_of(state: RunState) -> str:
    """Why a run did not succeed; in runs of rules what its last step said, of runs in runs the innermost."""
    told = f"child run {state.name} {state.outcome}"
    said = next((step.error for step in reversed(state.steps.values()) if step.error), "") if state.known.shape is not None else ""
    return said if said.startswith("child run ") else f"{told}: {said[:MOST_CAUSE]}" if said else told


def last_state(state: RunState) -> dict[str, Any]:
    """What a graph of rules hands to the run it works for."""
    return state.document if state.known.shape is not None else {}


def last_used(state: RunState) -> Used | None:
    """What it used up in all, for the budgets of the run it works for."""
    return state.memo.used.get("") if state.known.shape is not None else None
