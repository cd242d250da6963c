"""How this surface's errors look: `{code, message, details?}` (Dagu 1.30), with natural statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:  # what only names our prefix stays free of the web framework
    from ...web.problems import Fault, Shapes

PREFIX = "/api/v2"
NOUNS = ("dags", "dag-runs", "queues", "workers", "services", "metrics", "health", "events", "notifications",
         "auth", "users", "api-keys", "webhooks")
"""First segments this surface owns under the prefix."""

CODES = frozenset((
    "bad_request", "not_found", "internal_error", "unauthorized", "forbidden", "bad_gateway", "remote_node_error",
    "max_run_reached", "not_running", "already_running", "already_exists",
    "auth.unauthorized", "auth.token_invalid", "auth.forbidden",
))  # fmt: skip
"""What clients know; an inner code that is none of these is told as `details.reason`."""

STATUSES = {"not_running": 400}
"""Dagu 1.30 answers 400 where the natural status would be 409."""


def shape(fault: Fault) -> tuple[int, dict[str, Any]]:
    code = fault.code
    details: dict[str, Any] = dict(fault.details)
    if code not in CODES:
        details["reason"] = code
        code = "bad_request" if fault.status < 500 else "internal_error"
    if fault.problems:
        details["problems"] = [msgspec.to_builtins(problem) for problem in fault.problems]
    if fault.hint:
        details["hint"] = fault.hint
    if fault.error_id:
        details["errorId"] = fault.error_id
    body: dict[str, Any] = {"code": code, "message": f"{fault.message} ({fault.hint})" if fault.hint else fault.message}
    if details:
        body["details"] = details
    return STATUSES.get(fault.code, fault.status), body


def register(shapes: Shapes) -> None:
    for noun in NOUNS:
        shapes.register(f"{PREFIX}/{noun}", shape)
