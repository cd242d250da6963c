"""What a registry is told, and what it answers."""

from __future__ import annotations

from typing import Any

import msgspec


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it is registered. `declared_upstreams` None: what it needs has not been looked at."""

    task_id: str
    task_namespace: str
    task_name: str
    version: str | None
    output_uri: str | None
    instance_hash: str
    body: dict[str, Any]
    declared_upstreams: list[str] | None
    observed_complete: bool
    observed_at: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for with a build. `settings` None: none, or on a resume those the build has. `ttl_s`: how long a claim holds
    without a renewal."""

    description: str | None = None
    resume_build_id: str | None = None
    settings: dict[str, str] | None = None
    ttl_s: int = 120


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a body runs: shown to people who ask what a task is doing."""

    executor: str
    executor_ref: str
    executor_metadata: dict[str, Any]


class StoredTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task as a registry knows it; `bodies` newest first."""

    task_id: str
    status: str
    output_uri: str | None = None
    bodies: tuple[dict[str, Any], ...] = ()


class Denied(Exception):
    """A start that was not granted. `code` as the registry says it; `GRANTABLE` ones may be granted later."""

    GRANTABLE = frozenset({"task_already_running", "upstream_incomplete", "concurrency_limit_reached"})
    COMPLETED = "task_already_completed"
    UPSTREAM = "upstream_incomplete"
    INCOMPLETE = "plan_incomplete"
    USED = "execution_superseded"
    STOPPED = "build_not_running"

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}
