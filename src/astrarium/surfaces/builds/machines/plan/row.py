"""The row tables of plans, claims, deployments and limits, as readers see them (migration 0008). Times are microseconds UTC, 0 = never.

A *scope* is the three columns environment, deployment, settings (a hash). An instance's UUID follows from its scope and hash.
"""

from __future__ import annotations

from .....kernel.types import table

BUILD_DRIVES = table(
    "build_drives",
    "build",
    "build environment resumed:int metadata:json reactive_app reactive_kwargs:json",
)
"""More about a build that plans drive. `reactive_app` is empty where nothing schedules it by itself."""

BUILD_ACTIVITY = table("build_activity", "build", "build environment at:int")
"""When something last happened in a build."""

PLANS = table(
    "plans",
    "id",
    "id environment build deployment settings generation:int created_at:int activated_at:int sealed_at:int superseded_at:int",
)
"""At most one plan of a build is active: activated, and not superseded."""

PLAN_MEMBERS = table(
    "plan_members",
    "plan task_id",
    "plan task_id environment hash root:int admitted_by at:int excluded_at:int excluded_reason",
)
"""`hash` names the instance in the plan's scope."""

INSTANCES = table(
    "instances",
    "environment deployment settings hash",
    "environment deployment settings hash task_id id body created_at:int expanded_at:int",
)
"""`body` is the hash of the parameters (a thing of kind `task`)."""

INSTANCE_EDGES = table(
    "instance_edges",
    "environment deployment settings downstream upstream",
    "environment deployment settings downstream upstream upstream_task dynamic:int",
)
"""Between hashes of instances; `upstream_task` saves a look-up."""

EXECUTIONS = table(
    "executions",
    "environment id",
    "environment id task_id build plan instance executor executor_ref metadata:json started_at:int released_at:int claim_outcome"
    " ended_at:int outcome",
)

DEPLOYMENTS = table(
    "deployments",
    "environment id",
    "environment id kind app code image modal_app generation:int deployed_at:int activated_at:int",
)
"""The current one of an app is the activated one of the highest generation; `local` ones are never current."""

BUILD_SETTINGS = table("build_settings", "environment hash", "environment hash body:json")

LIMITS = table("limits", "environment key", "environment key most:int")
"""How many claims of a key may be live at once; -1 = the limit was taken away."""

BUILD_WAKES = table(
    "build_wakes",
    "build",
    "build environment flagged_at:int handed_at:int owner lease_until:int",
)
"""Whether a build wants a tick, and who schedules it."""

TICK_SUMMARIES = table("tick_summaries", "build seq", "build seq:int at:int outcome summary:json")
