"""Definitions as the DAG API shows them, and what is asked of them."""

from __future__ import annotations

import msgspec

from .run import RunDetails, RunSummary
from .schedule import LastSlot
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
    """`next_run` and `last_slot` are our own: when the schedule starts it next (RFC 3339), and what became of the slot before."""

    file_name: str
    dag: Dag
    latest_dag_run: RunSummary = msgspec.field(name="latestDAGRun")
    suspended: bool
    errors: list[str]
    next_run: str = ""
    last_slot: LastSlot | None = None


class DagList(Wire):
    dags: list[DagFile]
    errors: list[str]
    pagination: Pagination


class LocalDag(Wire):
    name: str
    errors: list[str]
    dag: DagDetails | None = None


class DagAnswer(Wire):
    """`next_run` and `last_slot` as in the list."""

    local_dags: list[LocalDag]
    latest_dag_run: RunDetails = msgspec.field(name="latestDAGRun")
    suspended: bool
    errors: list[str]
    dag: DagDetails | None = None
    next_run: str = ""
    last_slot: LastSlot | None = None


class DagSpec(Wire):
    spec: str
    errors: list[str]
    dag: DagDetails | None = None


class Validation(Wire):
    valid: bool
    errors: list[str]
    dag: DagDetails | None = None


class SearchMatch(Wire):
    """`line` is the match with the lines around it; `start_line` the first of them, both numbers from 1."""

    line: str
    line_number: int
    start_line: int


class SearchResult(Wire):
    name: str
    dag: Dag
    matches: list[SearchMatch]


class SearchAnswer(Wire):
    results: list[SearchResult]
    errors: list[str]


class TagList(Wire):
    tags: list[str]
    errors: list[str]


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


class RenameDag(Ask):
    new_file_name: str


class CleanUp(Ask):
    """What is kept: runs that ended in the last `retention_days` days, the newest `keep_runs` runs; with neither what the DAG says.
    The newest run always is. `dry_run` only tells. An addition of ours: Dagu 1.30 has this in its command alone."""

    retention_days: int | None = None
    keep_runs: int | None = None
    dry_run: bool = False


class Cleaned(Wire):
    """So many runs are gone (or would be), by their ids; with `more`, ask again for the rest."""

    removed: int
    more: bool
    dag_run_ids: list[str]
