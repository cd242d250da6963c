"""Builds, tasks, assets and locks as the registry's clients know them. Names are snake case; nothing is left out. Times are
ISO 8601 in UTC with microseconds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

BuildStatus = Literal["pending", "running", "completed", "failed", "cancelled", "exit_early"]
AssetKind = Literal["markdown", "json"]


class BuildFault(msgspec.Struct):
    """`detail` is a text; for wrong fields a list of `{type, loc, msg, input}`; for a lock that cannot be had
    `{status, error_message}`."""

    detail: Any


class RegistryVersion(msgspec.Struct):
    server_version: str
    api_version: str


# -- builds ------------------------------------------------------------------------------------------------------------


class CreateBuild(msgspec.Struct):
    """`scope_key` and `build_config` are told back and nothing else (Stardag 0.24 to 0.26 give up on a server that does not)."""

    commit_hash: str | None = None
    root_task_ids: list[str] = []
    description: str | None = None
    scope_key: str | None = None
    build_config: dict[str, Any] | None = None


class BuildPerson(msgspec.Struct):
    id: str
    email: str
    display_name: str | None


class Build(msgspec.Struct):
    id: str
    environment_id: str
    user_id: str | None
    name: str
    description: str | None
    commit_hash: str | None
    root_task_ids: list[str]
    created_at: str
    status: str
    started_at: str | None
    completed_at: str | None
    status_triggered_by_user: BuildPerson | None
    scope_key: str | msgspec.UnsetType | None = msgspec.UNSET
    build_config: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


def echoed(build: Build, body: CreateBuild) -> Build:
    """A build as its maker is told of it."""
    return msgspec.structs.replace(build, scope_key=body.scope_key, build_config=body.build_config or msgspec.UNSET)


class BuildList(msgspec.Struct):
    builds: list[Build]
    total: int
    page: int
    page_size: int


class BuildEvent(msgspec.Struct):
    """`task_id` is the task's UUID, null for the build's own events."""

    id: str
    build_id: str
    task_id: str | None
    event_type: str
    created_at: str
    error_message: str | None
    event_metadata: msgspec.Raw | None


class BuildStreamEvent(BuildEvent):
    """`task` is the id the task was registered under."""

    task: str | None


class BuildStreamEnd(msgspec.Struct):
    build_id: str


class BuildGraphNode(msgspec.Struct):
    id: str
    task_id: str
    task_name: str
    task_namespace: str
    status: str
    asset_count: int


class BuildGraphEdge(msgspec.Struct):
    source: str
    target: str


class BuildGraph(msgspec.Struct):
    """`source` and `target` are UUIDs of nodes: upstream and downstream."""

    nodes: list[BuildGraphNode]
    edges: list[BuildGraphEdge]


# -- tasks -------------------------------------------------------------------------------------------------------------


class CreateTask(msgspec.Struct):
    """`task_data` is an object."""

    task_id: str
    task_name: str
    task_data: msgspec.Raw
    task_namespace: str = ""
    version: str | None = None
    output_uri: str | None = None
    dependency_task_ids: list[str] = []


class CreateTasks(msgspec.Struct):
    tasks: list[CreateTask]


class AddDependencies(msgspec.Struct):
    upstream_task_ids: list[str]
    is_dynamic: bool = False


class Task(msgspec.Struct):
    id: str
    task_id: str
    environment_id: str
    task_namespace: str
    task_name: str
    task_data: msgspec.Raw
    version: str | None
    output_uri: str | None
    created_at: str


class TaskList(msgspec.Struct):
    tasks: list[Task]
    total: int
    page: int
    page_size: int


class TaskBatch(msgspec.Struct):
    """With `id_only`, only `id` and `task_id` of each."""

    tasks: list[Task]


class TaskRef(msgspec.Struct):
    id: str
    task_id: str


class TaskRefs(msgspec.Struct):
    tasks: list[TaskRef]


class TaskWithStatus(Task):
    """The status over all builds; `status_build_id` is the build it comes from."""

    status: str
    started_at: str | None
    completed_at: str | None
    error_message: str | None
    asset_count: int
    waiting_for_lock: bool
    status_build_id: str | None


class TaskReport(msgspec.Struct):
    """The status inside the build."""

    task_id: str
    status: str


class TaskDependencies(msgspec.Struct):
    task_id: str
    upstream_task_ids: list[str]


class TaskMetadata(msgspec.Struct):
    id: str
    body: msgspec.Raw
    name: str
    namespace: str
    version: str
    output_uri: str | None
    status: str
    registered_at: str
    started_at: str | None
    completed_at: str | None
    error_message: str | None


# -- assets ------------------------------------------------------------------------------------------------------------


class CreateAsset(msgspec.Struct):
    """`body` is an object; of markdown `{"content": "…"}`."""

    type: AssetKind
    name: str
    body: msgspec.Raw


class TaskAsset(msgspec.Struct):
    """`sha256` and `size` are of the content as it is given back."""

    id: str
    task_id: str
    asset_type: str
    name: str
    body: msgspec.Raw
    created_at: str
    content_type: str
    size: int
    sha256: str


class TaskAssets(msgspec.Struct):
    assets: list[TaskAsset]


class TaskArtifact(msgspec.Struct):
    id: str
    task_id: str
    artifact_type: str
    name: str
    body: msgspec.Raw
    created_at: str
    content_type: str
    size: int
    sha256: str


class TaskArtifacts(msgspec.Struct):
    artifacts: list[TaskArtifact]


# -- files and outputs ---------------------------------------------------------------------------------------------------


class TaskFilePut(msgspec.Struct):
    """`id` stays when the content is replaced."""

    id: str
    name: str
    content_type: str
    size: int
    sha256: str


class TaskFile(msgspec.Struct):
    id: str
    name: str
    content_type: str
    size: int
    sha256: str
    created_at: str


class TaskFiles(msgspec.Struct):
    files: list[TaskFile]


class ContentPreview(msgspec.Struct):
    """The beginning of some content that has `size` bytes in all. `text` is what people read, null for binary content."""

    content_type: str
    size: int
    text: str | None
    charset: str | None
    binary: bool
    truncated: bool


class TaskOutput(msgspec.Struct):
    task_id: str
    output_uri: str
    preview: ContentPreview


# -- locks -------------------------------------------------------------------------------------------------------------


class AcquireTaskLock(msgspec.Struct):
    owner_id: str
    ttl_seconds: int = 60
    check_task_completion: bool = True


class RenewTaskLock(msgspec.Struct):
    owner_id: str
    ttl_seconds: int = 60


class ReleaseTaskLock(msgspec.Struct):
    owner_id: str
    task_completed: bool = False
    build_id: str | None = None


class TaskLock(msgspec.Struct):
    """`version` grows with every grant and renewal of the name, and never falls."""

    name: str
    environment_id: str
    owner_id: str
    acquired_at: str
    expires_at: str
    version: int


class TaskLockGrant(msgspec.Struct):
    status: Literal["acquired", "already_completed"]
    acquired: bool
    lock: TaskLock | None
    error_message: str | None = None


class TaskLockRenewed(msgspec.Struct):
    renewed: bool


class TaskLockReleased(msgspec.Struct):
    released: bool


class TaskLocks(msgspec.Struct):
    locks: list[TaskLock]
    count: int


class TaskCompletion(msgspec.Struct):
    task_id: str
    is_completed: bool
