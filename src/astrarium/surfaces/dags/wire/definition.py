"""Definitions as the DAG API shows them, and what is asked of them."""

from __future__ import annotations

import msgspec

from .run import RunDetails, RunSummary
from .shape import Ask, Pagination, Wire
from .step import Condition, Step


class Schedule(Wire):
    expression: str


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


class Validation(Wire):
    valid: bool
    errors: list[str]
    dag: DagDetails | None = None


class GridItem(Wire):
    name: str
    history: list[int]


class DagHistory(Wire):
    dag_runs: list[RunDetails]
    grid_data: list[GridItem]


class CreateDag(Ask):
    name: str
    spec: str | None = None


class ValidateDag(Ask):
    spec: str
    name: str = ""


class PutSpec(Ask):
    spec: str
