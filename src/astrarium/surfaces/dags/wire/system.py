"""What the server tells of itself."""

from __future__ import annotations

import msgspec

from .shape import Wire


class Health(Wire):
    """`components`: a part's name → healthy, unhealthy or (for parts that may rest) another word of their own."""

    status: str
    version: str
    uptime: int
    timestamp: str
    components: dict[str, str] = {}


class RunningTask(Wire):
    dag_run_id: str
    dag_name: str
    started_at: str
    root_dag_run_name: str = ""
    root_dag_run_id: str = ""
    parent_dag_run_name: str = ""
    parent_dag_run_id: str = ""


class WorkerInfo(Wire):
    """A server that carries out steps; its pollers are the processes it may have at once."""

    id: str
    labels: dict[str, str]
    total_pollers: int
    busy_pollers: int
    running_tasks: list[RunningTask]
    last_heartbeat_at: str
    health_status: str


class WorkerList(Wire):
    workers: list[WorkerInfo]
    errors: list[str]


class Coordinator(Wire):
    instance_id: str
    host: str
    status: str
    started_at: str
    port: int


class CoordinatorList(Wire):
    coordinators: list[Coordinator]


class MetricPoint(msgspec.Struct):
    """`timestamp` in Unix seconds."""

    timestamp: int
    value: float


class ResourceHistory(msgspec.Struct):
    """`cpu`, `memory` and `disk` in percent, `load` the one-minute load average."""

    cpu: list[MetricPoint]
    memory: list[MetricPoint]
    disk: list[MetricPoint]
    load: list[MetricPoint]
