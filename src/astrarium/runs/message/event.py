"""What happens in a run: the events of the one life.

They carry everything a fold needs: the moves a router decided, the result a try reported, the times. Times are microseconds UTC."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...kernel.record.artifact import Artifact
from ..ports import Ask, Child, StepOutcome, Used
from ..routing.port import MoveOn, RunOutcome
from .order import Back, ForkRun, ImportRun, Parent, Resolved, StartRun, StopMode


class RunCreated(msgspec.Struct, frozen=True, tag=True):
    start: StartRun


class RunForked(msgspec.Struct, frozen=True, tag=True):
    fork: ForkRun


class RunImported(msgspec.Struct, frozen=True, tag=True):
    run: ImportRun


class RunBegan(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """The run has its place; `moves` are the first ones, unless it must be prepared first. `prepared`: it is with this very order."""

    moves: tuple[MoveOn, ...] = ()
    prepared: bool = False


class RunPrepared(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    resolved: Resolved
    moves: tuple[MoveOn, ...] = ()


class StepStarted(msgspec.Struct, frozen=True, omit_defaults=True, tag=True, gc=False):
    no: int
    try_no: int
    worker: str = ""


class StepDelayed(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """The step goes on at `at`: a further try after a failure (or a lost one), or a further pass."""

    no: int
    at: int
    why: Literal["retry", "repeat", "lost"]
    error: str = ""
    exit_code: int | None = None
    output: str | None = None
    used: Used | None = None


class StepAsked(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    no: int
    ask: Ask
    until: int = 0
    moves: tuple[MoveOn, ...] = ()


class AnswerGiven(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    no: int
    by: str
    approve: bool
    answer: dict[str, Any] = {}
    reason: str = ""


class ChildrenSpawned(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    no: int
    children: tuple[Child, ...]
    max_active: int = 0
    parallel: bool = False
    tolerated: bool = False
    marked: bool = False
    retry_in_s: float | None = None
    retry_limit: int = 0
    fields: dict[str, str] = {}


class ChildEnded(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    no: int
    index: int
    run: str = ""
    outcome: RunOutcome = "succeeded"
    outputs: dict[str, str] = {}
    error: str = ""
    state: dict[str, Any] = {}
    used: Used | None = None


class StepEnded(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """A checkpoint: the step's outcome, its output or patch, and the moves that follow. Now and then it carries an `anchor`: the run as it
    was before, without what had ended (`state.dump_anchor`), so that the past of a long run is not read from its beginning."""

    no: int
    outcome: StepOutcome = "succeeded"
    moves: tuple[MoveOn, ...] = ()
    output: str | None = None
    patch: dict[str, Any] | None = None
    exit_code: int | None = None
    error: str = ""
    tolerated: bool = False
    marked: bool = False
    passed: bool = False
    partial: bool = False
    code: str = ""
    goto: str = ""
    answer: dict[str, Any] | None = None
    used: Used | None = None
    said: tuple[dict[str, Any], ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    anchor: msgspec.Raw = msgspec.Raw()


class StepDropped(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Nothing waits for the step any more: it is cancelled."""

    no: int


class FanExpired(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """The branches at `at` took longer than they may."""

    at: int
    moves: tuple[MoveOn, ...] = ()


class RunPausing(msgspec.Struct, frozen=True, tag=True):
    pass


class RunPaused(msgspec.Struct, frozen=True, tag=True):
    pass


class RunResumed(msgspec.Struct, frozen=True, tag=True):
    pass


class RunStoodAside(msgspec.Struct, frozen=True, tag=True):
    """Its place in the queue is for others until it goes on."""


class RunWentOn(msgspec.Struct, frozen=True, tag=True):
    """It has a place in its queue again."""


class RunStopping(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    outcome: RunOutcome
    reason: str
    mode: StopMode
    grace_s: float
    moves: tuple[MoveOn, ...] = ()


class RunEnded(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    outcome: RunOutcome
    reason: str = ""


class RunReopened(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Round `round` began; the steps in `reset` are forgotten."""

    round: int
    reset: tuple[int, ...] = ()
    step: int | None = None
    queue: str = ""
    queue_limit: int = 0
    at_once: bool = False
    moves: tuple[MoveOn, ...] = ()
    parent: Parent | None = None
    back: Back | None = None


class StepMarked(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    no: int
    outcome: StepOutcome | None = None


class RunRenamed(msgspec.Struct, frozen=True, tag=True):
    """`before` is the name until now."""

    name: str
    before: str


EVENTS = (
    RunCreated, RunForked, RunImported, RunBegan, RunPrepared, StepStarted, StepDelayed, StepAsked, AnswerGiven, ChildrenSpawned,
    ChildEnded, StepEnded, RunPausing, RunPaused, RunResumed, RunStopping, RunEnded, RunReopened, StepMarked, RunRenamed, StepDropped,
    FanExpired, RunStoodAside, RunWentOn,
)  # fmt: skip
