"""The row tables of this surface: builds, tasks and locks as readers see them (migration 0008).

Everything begins with the environment or the build it belongs to, so a list reads only its own rows. Times are microseconds UTC,
0 = never. What is big is a thing and stands here by its hash: a task's parameters (`tasks.body`), an asset's content
(`task_assets.body`).
"""

from __future__ import annotations

from ....kernel.types import table

BUILDS = table(
    "builds",
    "id",
    "id workspace environment name description commit_hash roots:json user_id status created_at:int started_at:int"
    " completed_at:int error triggered_by",
)
"""`status`: running completed failed cancelled exit_early. `user_id` is the actor of a person, empty for a key; `triggered_by` is what
the client named who ended it."""

TASKS = table(
    "tasks",
    "environment task_id",
    "environment task_id workspace id namespace name version output_uri body created_at:int",
)
"""What a task is: put once, by its first registration. `id` is the UUID clients are shown; `body` the hash of `task_data`."""

TASK_STATES = table(
    "task_states",
    "environment task_id",
    "environment task_id status status_at:int started_at:int completed_at:int error build waiting:int assets:int execution"
    " claim_until:int claim_plan last_build current preempted_at:int",
)
"""How a task is, over all builds. `build` is the one the status comes from; `waiting` = for a lock, while it is pending; `assets`
counts them. `execution`, `claim_until`, `claim_plan` say who claims it; `last_build` is the build of its newest event, `current` the newest
execution."""

BUILD_TASKS = table("build_tasks", "build task_id", "build task_id")
"""Which tasks a build has told of."""

BUILD_TASK_STATES = table("build_task_states", "build task_id", "build task_id status at:int")
"""The status of a task inside one build, by the last event that gives one; without a row it is pending."""

TASK_EDGES = table("task_edges", "environment downstream upstream", "environment downstream upstream dynamic:int")
"""Dependencies by task ids: an upstream may be registered later, or never."""

BUILD_EVENTS = table(
    "build_events",
    "build at task_id seq",
    "build at:int task_id seq:int workspace pk type error metadata:json plan execution applied:int",
)
"""The events of a build and of its tasks in it, in order. `task_id` and `pk` (the task's UUID) are empty for the build's own; `seq`
is the number in the life's own stream; `applied` = 0: a report that came too late, and changed nothing."""

TASK_ASSETS = table(
    "task_assets",
    "environment task_id kind name",
    "environment task_id kind name workspace id build body size:int content_type created_at:int updated_at:int",
)
"""`kind`: markdown or json. `body` is the SHA-256 of the content (a thing of kind `asset`), `size` its bytes."""

TASK_VALUES = table(
    "task_values",
    "environment key text created_at task_id",
    "environment key text created_at:int task_id number:real source",
)
"""What can be searched for: the scalars of tasks' parameters (`key` = `param.<path>`) and of their assets (`asset.<name>.<path>`), see
`search.value`. `source` is empty, or the hash of the asset; a value of an asset that has another by now is no more."""

SEARCH_KEYS = table("search_keys", "environment key", "environment key kind tasks:int+")
"""Which keys there are, and how many tasks have had each."""

LOCKS = table("locks", "environment name", "environment name workspace owner acquired_at:int expires_at:int version:int")
"""A released lock keeps its row without an owner, and its version, which never falls."""
