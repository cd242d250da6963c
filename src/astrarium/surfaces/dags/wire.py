"""The shapes of the DAG API, field for field (Dagu 1.30, `/api/v2`). Fields without a default are always present; the others
are left out when empty."""

from __future__ import annotations

from typing import Any

import msgspec


class Wire(msgspec.Struct, omit_defaults=True, rename="camel"):
    """An answer."""


class Ask(msgspec.Struct, rename="camel"):
    """A request's body; fields it does not know are ignored, as Dagu 1.30 does."""


class Error(Wire):
    code: str
    message: str
    details: dict[str, Any] = {}


class Health(Wire):
    status: str
    version: str
    uptime: int
    timestamp: str
    components: dict[str, str] = {}


class Pagination(Wire):
    total_records: int
    current_page: int
    total_pages: int
    next_page: int | None
    prev_page: int | None


class Schedule(Wire):
    expression: str


class Condition(Wire):
    condition: str
    expected: str = ""
    negate: bool = False
    error: str = ""


class CommandEntry(Wire):
    command: str
    args: list[str] = []


class Parallel(Wire):
    items: str | list[str]
    max_concurrent: int = 0


class RepeatPolicy(Wire):
    repeat: str = ""
    interval: int = 0
    limit: int = 0
    backoff: float = 0.0
    max_interval_sec: int = 0
    condition: Condition | None = None
    exit_code: list[int] = []


class ExecutorConfig(Wire):
    type: str = ""
    config: dict[str, Any] = {}


class Step(Wire):
    name: str
    id: str = ""
    description: str = ""
    dir: str = ""
    commands: list[CommandEntry] = []
    script: str = ""
    stdout: str = ""
    stderr: str = ""
    output: str = ""
    call: str = ""
    params: str = ""
    parallel: Parallel | None = None
    depends: list[str] = []
    repeat_policy: RepeatPolicy | None = None
    mail_on_error: bool = False
    preconditions: list[Condition] = []
    timeout_sec: int = 0
    executor_config: ExecutorConfig | None = None


class RunConfig(Wire):
    disable_param_edit: bool
    disable_run_id_edit: bool


class Dag(Wire):
    name: str
    group: str = ""
    description: str = ""
    params: list[str] = []
    default_params: str = ""
    tags: list[str] = []
    schedule: list[Schedule] = []
    queue: str = ""
    max_active_runs: int = 0
    run_config: RunConfig | None = None


class Handlers(Wire):
    failure: Step | None = None
    success: Step | None = None
    cancel: Step | None = None
    exit: Step | None = None


class DagDetails(Dag):
    env: list[str] = []
    log_dir: str = ""
    handler_on: Handlers | None = None
    steps: list[Step] = []
    delay: int = 0
    hist_retention_days: int = 0
    preconditions: list[Condition] = []
    max_active_steps: int = 0


class RunSummary(Wire):
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
    params: str = ""
    worker_id: str = ""


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


class DagFile(Wire):
    file_name: str
    dag: Dag
    latest_dag_run: RunSummary = msgspec.field(name="latestDAGRun")
    suspended: bool
    errors: list[str]


class DagList(Wire):
    dags: list[DagFile]
    errors: list[str]
    pagination: Pagination


class LocalDag(Wire):
    name: str
    errors: list[str]
    dag: DagDetails | None = None


class DagAnswer(Wire):
    local_dags: list[LocalDag]
    latest_dag_run: RunDetails = msgspec.field(name="latestDAGRun")
    suspended: bool
    errors: list[str]
    dag: DagDetails | None = None


class DagSpec(Wire):
    spec: str
    errors: list[str]
    dag: DagDetails | None = None


class Errors(Wire):
    errors: list[str]


class Validation(Wire):
    valid: bool
    errors: list[str]
    dag: DagDetails | None = None


class RunList(Wire):
    dag_runs: list[RunSummary]


class RunAnswer(Wire):
    dag_run_details: RunDetails


class GridItem(Wire):
    name: str
    history: list[int]


class DagHistory(Wire):
    dag_runs: list[RunDetails]
    grid_data: list[GridItem]


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


class Named(Wire):
    name: str


class Approved(Wire):
    dag_run_id: str
    step_name: str
    resumed: bool


class Rejected(Wire):
    dag_run_id: str
    step_name: str


# -- bodies ------------------------------------------------------------------------------------------------------------


class CreateDag(Ask):
    name: str
    spec: str | None = None


class ValidateDag(Ask):
    spec: str
    name: str = ""


class PutSpec(Ask):
    spec: str


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


class MarkStatus(Ask):
    status: int


class ApproveStep(Ask):
    inputs: dict[str, str] = {}


class RejectStep(Ask):
    reason: str = ""
