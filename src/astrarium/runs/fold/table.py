"""Folding a run's events into its state. Never fails, never thinks: routers only count here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..message import (
    AnswerGiven,
    ChildEnded,
    ChildrenSpawned,
    FanExpired,
    RunBegan,
    RunCreated,
    RunEnded,
    RunForked,
    RunImported,
    RunPaused,
    RunPausing,
    RunPrepared,
    RunRenamed,
    RunReopened,
    RunResumed,
    RunStoodAside,
    RunStopping,
    RunWentOn,
    StepAsked,
    StepDelayed,
    StepDropped,
    StepEnded,
    StepMarked,
    StepStarted,
)
from ..state import RunState
from .life import (
    on_began,
    on_created,
    on_ended,
    on_expired,
    on_forked,
    on_imported,
    on_paused,
    on_pausing,
    on_prepared,
    on_renamed,
    on_reopened,
    on_resumed,
    on_stood_aside,
    on_stopping,
    on_went_on,
)
from .step import (
    on_answer,
    on_child_ended,
    on_dropped,
    on_marked,
    on_spawned,
    on_step_asked,
    on_step_delayed,
    on_step_ended,
    on_step_started,
)

Fold = Callable[[RunState, Any, int], None]
FOLDS: dict[type, Fold] = {
    RunCreated: on_created,
    RunForked: on_forked,
    RunImported: on_imported,
    RunBegan: on_began,
    RunPrepared: on_prepared,
    StepStarted: on_step_started,
    StepDelayed: on_step_delayed,
    StepAsked: on_step_asked,
    AnswerGiven: on_answer,
    ChildrenSpawned: on_spawned,
    ChildEnded: on_child_ended,
    StepEnded: on_step_ended,
    RunPausing: on_pausing,
    RunPaused: on_paused,
    RunResumed: on_resumed,
    RunStopping: on_stopping,
    RunEnded: on_ended,
    RunReopened: on_reopened,
    StepMarked: on_marked,
    RunRenamed: on_renamed,
    StepDropped: on_dropped,
    FanExpired: on_expired,
    RunStoodAside: on_stood_aside,
    RunWentOn: on_went_on,
}
