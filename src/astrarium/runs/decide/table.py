"""Which answer a run gives to which order. Pure; the memo of the router is never changed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...kernel.types import Facts, SlotGranted
from ..birth import Events, fork_run, import_run, start_run
from ..message import (
    AnswerAsk,
    EndChild,
    EndTry,
    ExpireFan,
    ForkRun,
    ImportRun,
    LeavePlace,
    LoseTry,
    MarkStep,
    PauseRun,
    RenameRun,
    ReopenRun,
    Resolved,
    ResumeRun,
    StartRun,
    StartTry,
    StopRun,
    TimeOutAsk,
    TimeOutRun,
)
from ..state import RunState
from .ask import answer_ask, time_out_ask
from .life import (
    expire_fan,
    leave_place,
    mark_step,
    pause_run,
    prepared,
    rename_run,
    reopen_run,
    resume_run,
    slot_granted,
    stop_run,
    time_out_run,
)
from .step import end_child, end_try, lose_try, start_try

Decision = Callable[[RunState, Any, Facts], Events]
DECISIONS: dict[type, Decision] = {
    StartRun: start_run,
    ForkRun: fork_run,
    ImportRun: import_run,
    SlotGranted: slot_granted,
    Resolved: prepared,
    StartTry: start_try,
    EndTry: end_try,
    LoseTry: lose_try,
    AnswerAsk: answer_ask,
    TimeOutAsk: time_out_ask,
    EndChild: end_child,
    StopRun: stop_run,
    TimeOutRun: time_out_run,
    PauseRun: pause_run,
    LeavePlace: leave_place,
    ResumeRun: resume_run,
    ReopenRun: reopen_run,
    MarkStep: mark_step,
    RenameRun: rename_run,
    ExpireFan: expire_fan,
}
