"""Jobs that carry out nothing themselves: the first one of a run, dates that have come, answers given beforehand."""

from __future__ import annotations

from typing import Any

from ...kernel.slots import PlainJob
from ...kernel.types import Job
from ..message import (
    AnswerAsk,
    ExpireFan,
    Resolved,
    TimeOutAsk,
    TimeOutRun,
)
from .prepare import resolve
from .workshop import Workshop


class PrepareRun(PlainJob):
    """The first job of a run: parameters, environment, conditions."""

    name = "prepare_run"

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    async def carry_out(self, job: Job) -> Any:
        state = await self._shop.load(job)
        if state is None or state.prepared:
            return None
        return await resolve(self._shop, state)

    def broke(self, job: Job, error: Exception) -> Any:
        return Resolved(error=f"{type(error).__name__}: {error}")


class RunDue(PlainJob):
    """The run's time-out."""

    name = "run_due"

    def carry_out(self, job: Job) -> Any:
        return TimeOutRun(job.body["round"])


class AskDue(PlainJob):
    """Nobody answered in time."""

    name = "ask_due"

    def carry_out(self, job: Job) -> Any:
        return TimeOutAsk(job.body["no"], job.body["until"])


class FanDue(PlainJob):
    """Branches took longer than they may."""

    name = "fan_due"

    def carry_out(self, job: Job) -> Any:
        return ExpireFan(job.body["at"], job.body["round"])


class GiveAnswer(PlainJob):
    """The answer a fork was given beforehand."""

    name = "give_answer"

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    async def carry_out(self, job: Job) -> Any:
        state = await self._shop.load(job)
        step = state.steps.get(job.body["no"]) if state is not None else None
        if state is None or step is None or step.status != "asking" or step.place not in state.answers:
            return None
        return AnswerAsk(step.no, state.answered_by, answer=state.answers[step.place])
