"""Orders to a task and what happens to it. Each names the build it is about.

`execution` is who does the work, for drivers that claim it: an order with one is only taken from the execution that holds the claim.
Without one there is no guard, and what was said last counts (Stardag's `/api/v1`).
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Order(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    build: str
    execution: str = ""


class _Fact(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    build: str
    execution: str = ""
    plan: str = ""


# -- commands ---------------------------------------------------------------------------------------------------------


class RegisterTask(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Tell what a task is, or that a build wants it: the first registration says what it is. `id` is the UUID it gets; `body` the hash
    of its parameters; `upstreams` are ids of tasks, which need not be known."""

    build: str
    id: str
    name: str
    body: str
    namespace: str = ""
    version: str | None = None
    output_uri: str | None = None
    upstreams: tuple[str, ...] = ()


class AddUpstreams(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """More tasks this one needs, found out later; `dynamic` = while it ran."""

    build: str
    upstreams: tuple[str, ...]
    dynamic: bool = False


class StartTask(_Order, frozen=True, omit_defaults=True, tag=True):
    """It runs. With an `execution` it is claimed for it until `claim_until`, on behalf of `plan`."""

    plan: str = ""
    claim_until: int = 0


class CompleteTask(_Order, frozen=True, omit_defaults=True, tag=True):
    """It is done."""


class FailTask(_Order, frozen=True, omit_defaults=True, tag=True):
    """It went wrong."""

    error: str | None = None


class SuspendTask(_Order, frozen=True, omit_defaults=True, tag=True):
    """It waits for tasks it found out it needs."""


class ResumeTask(_Order, frozen=True, omit_defaults=True, tag=True):
    """It goes on."""


class CancelTask(_Order, frozen=True, omit_defaults=True, tag=True):
    """It is given up in this build."""


class SkipTask(_Order, frozen=True, omit_defaults=True, tag=True):
    """It is not done in this build."""


class AwaitLock(_Order, frozen=True, omit_defaults=True, tag=True):
    """It waits for a lock `owner` has."""

    owner: str = ""


class NewAsset(msgspec.Struct, frozen=True):
    """An asset to be kept: `body` is the hash of its content, `size` in bytes. `id` is used if the task has none of that kind and
    name."""

    id: str
    kind: str
    name: str
    body: str
    size: int
    content_type: str = "application/json"

    @property
    def place(self) -> str:
        """What it replaces."""
        return f"{self.kind}/{self.name}"


class PutAssets(msgspec.Struct, frozen=True, tag=True):
    """Attach assets to the task; one of a kind and name replaces the one there is."""

    build: str
    assets: tuple[NewAsset, ...]


# -- events -----------------------------------------------------------------------------------------------------------


class TaskRegistered(RegisterTask, frozen=True, omit_defaults=True, tag=True):
    plan: str = ""


class TaskReferenced(_Fact, frozen=True, omit_defaults=True, tag=True):
    pass


class UpstreamsAdded(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    build: str
    upstreams: tuple[str, ...]
    dynamic: bool = False


class TaskStarted(_Fact, frozen=True, omit_defaults=True, tag=True):
    """`instance` is what is done of the task, `keys` are the limits the claim takes a place of."""

    claim_until: int = 0
    instance: str = ""
    executor: str | None = None
    executor_ref: str | None = None
    metadata: dict[str, Any] | None = None
    keys: tuple[str, ...] = ()


class TaskCompleted(_Fact, frozen=True, omit_defaults=True, tag=True):
    pass


class TaskFailed(_Fact, frozen=True, omit_defaults=True, tag=True):
    error: str | None = None


class TaskSuspended(_Fact, frozen=True, omit_defaults=True, tag=True):
    pass


class TaskResumed(_Fact, frozen=True, omit_defaults=True, tag=True):
    pass


class TaskCancelled(_Fact, frozen=True, omit_defaults=True, tag=True):
    """`claim` says how a claim ended by it, if not as cancelled."""

    claim: str = ""


class TaskSkipped(_Fact, frozen=True, omit_defaults=True, tag=True):
    pass


class LockAwaited(_Fact, frozen=True, omit_defaults=True, tag=True):
    owner: str = ""


class AssetsPut(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    build: str
    assets: tuple[NewAsset, ...]


EVENTS = (
    TaskRegistered, TaskReferenced, UpstreamsAdded, TaskStarted, TaskCompleted, TaskFailed, TaskSuspended, TaskResumed,
    TaskCancelled, TaskSkipped, LockAwaited, AssetsPut,
)  # fmt: skip
TYPES: dict[type, str] = {
    TaskRegistered: "task_pending",
    TaskReferenced: "task_referenced",
    TaskStarted: "task_started",
    TaskCompleted: "task_completed",
    TaskFailed: "task_failed",
    TaskSuspended: "task_suspended",
    TaskResumed: "task_resumed",
    TaskCancelled: "task_cancelled",
    TaskSkipped: "task_skipped",
    LockAwaited: "task_waiting_for_lock",
}
"""How an event is called in lists of events; the others are not told there."""
IN_BUILD: dict[type, str] = {
    TaskStarted: "running",
    TaskResumed: "running",
    TaskSuspended: "suspended",
    TaskCompleted: "completed",
    TaskFailed: "failed",
    TaskCancelled: "cancelled",
    TaskSkipped: "skipped",
}
"""The status inside one build after an event; the others leave it as it is, at first pending (Stardag, Feb 2026)."""
