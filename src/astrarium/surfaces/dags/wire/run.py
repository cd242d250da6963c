"""Runs as the DAG API shows them, and what is asked of them."""

from __future__ import annotations

import msgspec

from .shape import Ask, Wire
from .step import Condition, Step


class RunSummary(Wire):
    """Our own: `waitingFor`, why a run that waits does not go on; `trigger`, what began it; `scheduledAt`, the slot of the schedule that
    it belongs to."""

    root_dag_run_name: str = msgspec.field(name="rootDAGRunName")
    root_dag_run_id: str = msgspec.field(name="rootDAGRunId")
    dag_run_id: str
    name: str
    status: int
    status_label: str
    started_at: str
    finished_at: str
    log: str
    parent_dag_run_name: str = msgspec.field(default="", name="parentDAGRunName")
    parent_dag_run_id: str = msgspec.field(default="", name="parentDAGRunId")
    queued_at: str = ""
    waiting_for: str = ""
    params: str = ""
    worker_id: str = ""
    trigger: str = ""
    scheduled_at: str = ""


class SubRun(Wire):
    dag_run_id: str
    params: str = ""


class SubRunDetail(Wire):
    dag_run_id: str
    status: int
    status_label: str
    started_at: str
    params: str = ""
    finished_at: str = ""


class Node(Wire):
    step: Step
    stdout: str
    stderr: str
    started_at: str
    finished_at: str
    status: int
    status_label: str
    retry_count: int
    done_count: int
    sub_runs: list[SubRun] = []
    sub_runs_repeated: list[SubRun] = []
    error: str = ""
    approved_at: str = ""
    approved_by: str = ""
    approval_inputs: dict[str, str] = {}
    rejected_at: str = ""
    rejected_by: str = ""
    rejection_reason: str = ""


class RunDetails(RunSummary, kw_only=True):
    nodes: list[Node]
    on_exit: Node | None = None
    on_success: Node | None = None
    on_failure: Node | None = None
    on_cancel: Node | None = None
    preconditions: list[Condition] = []


class RunList(Wire):
    dag_runs: list[RunSummary]


class RunAnswer(Wire):
    dag_run_details: RunDetails


class DagRunAnswer(Wire):
    dag_run: RunDetails


class RunSpec(Wire):
    spec: str


class Log(Wire):
    content: str
    line_count: int
    total_lines: int
    has_more: bool
    is_estimate: bool = False


class OutputsMetadata(Wire):
    dag_name: str
    dag_run_id: str
    attempt_id: str
    status: str
    completed_at: str
    params: str = ""


class Outputs(Wire):
    metadata: OutputsMetadata
    outputs: dict[str, str]


class SubRuns(Wire):
    sub_runs: list[SubRunDetail]


class Started(Wire):
    dag_run_id: str


class Approved(Wire):
    dag_run_id: str
    step_name: str
    resumed: bool


class Rejected(Wire):
    dag_run_id: str
    step_name: str


class StartDag(Ask):
    params: str | None = None
    dag_run_id: str | None = None
    dag_name: str | None = None
    singleton: bool = False


class StartSpec(Ask):
    """`baseDir` (our own): the folder relative paths, dotenv files and child DAGs of the text refer to; the DAG folder by default."""

    spec: str
    name: str | None = None
    params: str | None = None
    dag_run_id: str | None = None
    singleton: bool = False
    base_dir: str | None = None


class StopRun(Ask):
    """`graceSec` (our own): seconds from the signal to the kill; the DAG's own by default. A second stop may only shorten it."""

    grace_sec: float | None = None


class RetryRun(Ask):
    dag_run_id: str | None = None
    step_name: str | None = None


class ForkRun(Ask):
    """`stepName`: the step to run again, with all that follows from it; without one, what did not go well. `params`: other parameters,
    with which everything runs again; `outputs`: step → what it shall have printed, so that what follows from it runs again."""

    dag_run_id: str | None = None
    step_name: str | None = None
    params: str | None = None
    outputs: dict[str, str] | None = None


class MarkStatus(Ask):
    status: int


class ApproveStep(Ask):
    inputs: dict[str, str] = {}


class RejectStep(Ask):
    reason: str = ""
