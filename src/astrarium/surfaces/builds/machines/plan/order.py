"""Orders to a task that is a member of plans. `build` and `plan` say on whose behalf; `execution` is one attempt."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Reported = Literal["completed", "failed", "suspended", "interrupted"]


class RegisterInstance(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Tell what a task is under a scope, what it needs there, and what was seen of its output. `id` is the UUID a new task gets; `body`
    the hash of its parameters; `upstreams` are (hash, task) of instances in the same scope, None = not looked up.
    `observed`: whether its output is there, seen at `observed_at`."""

    build: str
    plan: str
    deployment: str
    settings: str
    hash: str
    id: str
    name: str
    body: str
    namespace: str = ""
    version: str | None = None
    output_uri: str | None = None
    upstreams: tuple[tuple[str, str], ...] | None = None
    observed: bool = False
    observed_at: int = 0


class ClaimTask(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Start it, and hold it for `ttl_s` seconds; `keys` name the limits that count it."""

    build: str
    plan: str
    execution: str
    instance: str
    ttl_s: int
    executor: str | None = None
    executor_ref: str | None = None
    metadata: dict[str, Any] | None = None
    keys: tuple[str, ...] = ()


class DescribeExecution(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """More about who carries an execution out, told by the holder of its claim. After a preemption it is its restart."""

    plan: str
    execution: str
    ttl_s: int
    executor: str | None = None
    executor_ref: str | None = None
    metadata: dict[str, Any] | None = None


class ReportExecution(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """How an execution ended. One that lost its claim is heard, and changes nothing but its own record."""

    build: str
    plan: str
    execution: str
    outcome: Reported
    error: str | None = None


class PreemptExecution(msgspec.Struct, frozen=True, tag=True):
    """Its machine is taken away: unless it comes back soon, the claim is over."""

    plan: str
    execution: str


class RenewClaim(msgspec.Struct, frozen=True, tag=True):
    """Hold it for `ttl_s` seconds from now on."""

    execution: str
    ttl_s: int


class RetryTask(msgspec.Struct, frozen=True, tag=True):
    """Let it be started again."""

    build: str
    plan: str


class SkipMember(msgspec.Struct, frozen=True, tag=True):
    """Do not start it: what it needs will not be there."""

    build: str
    plan: str


class CancelClaim(msgspec.Struct, frozen=True, tag=True):
    """Take the claim back from an execution of this build."""

    build: str
    plan: str


class ReleaseClaim(msgspec.Struct, frozen=True, tag=True):
    """The build has ended: what it holds is free for others."""

    build: str


class StopExecution(msgspec.Struct, frozen=True, tag=True):
    """What an operator states of an execution: it was stopped, or will never report."""

    execution: str
    outcome: Literal["stopped", "lost"]


class YieldTask(msgspec.Struct, frozen=True, tag=True):
    """It needs more instances, `upstreams` = (hash, task). `batch` names the order for repetitions; `result` is what they are told."""

    build: str
    plan: str
    execution: str
    batch: str
    instance: str
    upstreams: tuple[tuple[str, str], ...]
    suspend: bool
    result: dict[str, int]


ORDERS = (
    RegisterInstance, ClaimTask, DescribeExecution, ReportExecution, PreemptExecution, RenewClaim, RetryTask, SkipMember, CancelClaim,
    ReleaseClaim, StopExecution, YieldTask,
)  # fmt: skip
