"""Roles as named sets of capabilities: one table for all surfaces.

A capability is what an operation `needs`; a role is which capabilities its callers have. Dagu 1.30: `admin` > `manager` (edit and
run) > `operator` (run, stop) > `viewer`; here they are sets, so a role need not lie between two others.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...errors import Invalid, Problem

ADMIN, MANAGER, OPERATOR, VIEWER = ROLES = ("admin", "manager", "operator", "viewer")

TABLE: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType({
    "self":        ("see one's own account and change one's password", (ADMIN, MANAGER, OPERATOR, VIEWER)),
    "dags:read":   ("see DAG files, and search them",                  (ADMIN, MANAGER, OPERATOR, VIEWER)),
    "dags:write":  ("make, change, rename and delete DAG files",       (ADMIN, MANAGER)),
    "runs:read":   ("see runs, their logs, outputs and queues",        (ADMIN, MANAGER, OPERATOR, VIEWER)),
    "runs:start":  ("start, enqueue and retry runs",                   (ADMIN, MANAGER, OPERATOR)),
    "runs:change": ("stop runs, edit and approve their steps, suspend", (ADMIN, MANAGER, OPERATOR)),
    "audit:read":  ("see and export the audit log",                    (ADMIN,)),
    "admin":       ("users, API keys and webhooks",                    (ADMIN,)),
})  # fmt: skip
"""capability → what it allows, which roles have it"""

CAPABILITIES = frozenset(TABLE)
_OF_ROLE = {role: frozenset(name for name, (_, roles) in TABLE.items() if role in roles) for role in ROLES}


def capabilities_of(role: str) -> frozenset[str]:
    """What a role may do; a role nobody knows (of a newer version) may do nothing."""
    return _OF_ROLE.get(role, frozenset())


def check_role(role: str) -> str:
    """The role, if there is such a one. Raises `Invalid`."""
    if role not in ROLES:
        problem = Problem(f"must be one of {', '.join(ROLES)}", path="role")
        raise Invalid(f"there is no role {role[:40]!r}: it {problem.message}", [problem])
    return role
