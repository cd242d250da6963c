"""What the live streams tell: one shape for everything that happens to a run or a step, and those of a followed log."""

from __future__ import annotations

import msgspec

from .shape import Wire


class LiveRun(Wire):
    """Whose event it is; `attempt` counts the rounds of a run that was retried."""

    name: str
    dag_run_id: str
    root_dag_run_name: str = msgspec.field(name="rootDAGRunName")
    root_dag_run_id: str = msgspec.field(name="rootDAGRunId")


class LiveEvent(Wire):
    """`status` and `status_label` are the step's where there is a `step`, else the run's; their numbers and labels are those of the
    rest of the API."""

    type: str
    time: str
    status: int
    status_label: str
    run: LiveRun
    step: str = ""
    try_no: int = 0
    attempt: int = 0
    exit_code: int | None = None
    error: str = ""
    reason: str = ""
    at: str = ""


class Pruned(Wire):
    """Stands for events that are no longer kept."""

    type: str
    time: str
    count: int


class LogText(Wire):
    """A piece of a log as it is, line ends included; the last line may be unfinished, the next piece goes on with it."""

    text: str


class LogTry(Wire):
    """The pieces that follow are of this try. `stream`: stdout or stderr."""

    step: str
    stream: str
    attempt: int
    try_no: int


class StreamEnd(Wire):
    """Nothing more will come; how the run, or the step, stands now."""

    status: int
    status_label: str
