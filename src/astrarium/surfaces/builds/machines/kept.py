"""What is written out of a task: what it is, how it is, and who works or worked on it."""

from __future__ import annotations

from typing import Any

import msgspec

from ....kernel.record.artifact import Artifact

STATUSES = ("pending", "running", "suspended", "completed", "failed", "cancelled", "skipped", "interrupted")
"""A task's, over all builds."""


class Instance(msgspec.Struct, omit_defaults=True):
    """A construction of a task under a scope (deployment and settings). `body` is the hash of its parameters; `upstreams`: hash of an
    instance in the same scope → its task, None while it is not expanded. Times in microseconds."""

    body: str
    at: int
    upstreams: dict[str, str] | None = None
    expanded_at: int = 0


class Execution(msgspec.Struct, omit_defaults=True):
    """One attempt. It has two ends: that of its claim (`released_at`, `claim_outcome`), which the registry sees, and its own
    (`ended_at`, `outcome`), which its worker reports or an operator states."""

    build: str
    plan: str
    instance: str
    started_at: int
    executor: str | None = None
    executor_ref: str | None = None
    metadata: dict[str, Any] | None = None
    released_at: int = 0
    claim_outcome: str = ""
    ended_at: int = 0
    outcome: str = ""


class Kept(msgspec.Struct, omit_defaults=True):
    """What is written out of a task. `number` counts its events, `last` and `last_build` are of the newest report; `assets`: kind and
    name → UUID and when it was first put.

    `execution` holds the claim, until `claim_until`, for `claim_plan`; `current` is the newest execution, and `held` are the limits
    the claim takes a place of. `instances` by scope and hash (`instance_key`), `yields` by execution and batch. `invalidated_at` is the
    time of the observation that took the newest completion back. `files` by their names."""

    number: int = 0
    id: str = ""
    name: str = ""
    namespace: str = ""
    version: str | None = None
    output_uri: str | None = None
    body: str = ""
    created_at: int = 0
    status: str = ""
    status_at: int = 0
    started_at: int = 0
    completed_at: int = 0
    error: str | None = None
    build: str = ""
    waiting: bool = False
    last: str = ""
    last_build: str = ""
    upstreams: set[str] | None = None
    assets: dict[str, tuple[str, int]] | None = None
    execution: str = ""
    claim_until: int = 0
    claim_plan: str = ""
    current: str = ""
    preempted_at: int = 0
    invalidated_at: int = 0
    held: tuple[str, ...] = ()
    instances: dict[str, Instance] = {}
    executions: dict[str, Execution] = {}
    yields: dict[str, dict[str, Any]] = {}
    files: dict[str, Artifact] = {}


def instance_key(deployment: str, settings: str, hash_: str) -> str:
    """The name of an instance in its task."""
    return f"{deployment}/{settings}/{hash_}"


def claimed(kept: Kept, now: int) -> bool:
    """Whether an execution holds a live claim."""
    return kept.execution != "" and kept.claim_until > now
