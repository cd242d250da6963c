"""How errors of this surface look: as those of workspaces do, but a lock that cannot be had says so by a status of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..tenancy import problem

if TYPE_CHECKING:  # what only names our prefix stays free of the web framework
    from ...web.problems import Fault, Shapes

PREFIX = problem.PREFIX
NOUNS = ("builds", "tasks", "locks", "version")
"""First segments this surface owns under the prefix."""
LOCK_STATUSES = {"held_by_other": 423, "concurrency_limit_reached": 429}
"""Code of a refused lock → status (Stardag, Feb 2026)."""
PLAN_PREFIX = "/api/v2"
PLAN_NOUNS = (
    "deployments", "settings", "builds", "plans", "tasks", "executions", "concurrency-limits", "stalled-builds",
)  # fmt: skip
"""First segments of the routes for plans; the prefix is shared with another surface."""

UPLOAD = re.compile(rf"{PREFIX}/builds/[^/]+/tasks/[^/]+/files/[^/]+")
"""Paths whose PUT brings a file: its limit is that of artifacts."""


def shape(fault: Fault) -> tuple[int, dict[str, Any]]:
    status = LOCK_STATUSES.get(fault.code)
    if status is not None:
        return status, {"detail": {"status": fault.code, "error_message": fault.message}}
    return problem.sdk_shape(fault)


def plan_shape(fault: Fault) -> tuple[int, dict[str, Any]]:
    """A refusal is an object with a code (Stardag 0.28). What is told before a route acts, of fields, credentials and rights, is as on the
    other routes."""
    plain = fault.status in (401, 403) or (fault.status == 404 and fault.code == "not_found") or fault.status >= 500
    if plain or not fault.routed or (fault.status == 400 and fault.code == "bad_request"):
        return problem.sdk_shape(fault)
    message = f"{fault.message} ({fault.hint})" if fault.hint else fault.message
    code = "RATE_LIMIT" if fault.code == "rate_limited" else fault.code
    return fault.status, {"detail": {"code": code, "message": message, **fault.details}}


def register(shapes: Shapes) -> None:
    for noun in PLAN_NOUNS:
        shapes.register(f"{PLAN_PREFIX}/{noun}", plan_shape)
    for noun in NOUNS:
        shapes.register(f"{PREFIX}/{noun}", shape)
