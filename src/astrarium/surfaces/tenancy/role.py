"""Roles as named sets of capabilities: one table for all surfaces.

A capability is what an operation `needs`; a role is which capabilities its callers have. Dagu 1.30: `admin` > `manager` (edit and
run) > `operator` (run, stop) > `viewer`; here they are sets, so a role need not lie between two others.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...errors import Invalid, Problem
from ...web.caller import PERSONAL

ADMIN, MANAGER, OPERATOR, VIEWER = ROLES = ("admin", "manager", "operator", "viewer")
OWNER = "owner"
"""Of a workspace; no account or key of `/api/v2` has it."""

WORKSPACE_ROLES: Mapping[str, str] = MappingProxyType({"owner": OWNER, "admin": ADMIN, "member": OPERATOR})
"""The build registry's name of a role → ours."""

TABLE: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType({
    "self":        ("see one's own account and change one's password", (OWNER, ADMIN, MANAGER, OPERATOR, VIEWER)),
    "dags:read":   ("see DAG files, and search them",                  (OWNER, ADMIN, MANAGER, OPERATOR, VIEWER)),
    "dags:write":  ("make, change, rename and delete DAG files",       (OWNER, ADMIN, MANAGER)),
    "runs:read":   ("see runs, their logs, outputs and queues",        (OWNER, ADMIN, MANAGER, OPERATOR, VIEWER)),
    "runs:start":  ("start, enqueue and retry runs",                   (OWNER, ADMIN, MANAGER, OPERATOR)),
    "runs:change": ("stop runs, edit and approve their steps, suspend", (OWNER, ADMIN, MANAGER, OPERATOR)),
    "audit:read":  ("see and export the audit log",                    (OWNER, ADMIN)),
    "admin":       ("users, API keys and webhooks",                    (OWNER, ADMIN)),
    "workspaces:read":   ("see one's workspaces: members, environments, keys, target roots", (OWNER, ADMIN, MANAGER, OPERATOR, VIEWER)),
    "workspaces:create": ("make a workspace",                                                (OWNER, ADMIN, MANAGER, OPERATOR)),
    "workspaces:write":  ("change a workspace and all it consists of",                       (OWNER, ADMIN)),
    "workspaces:own":    ("delete a workspace, make and unmake its owners",                  (OWNER,)),
})  # fmt: skip
"""capability → what it allows, which roles have it"""

CAPABILITIES = frozenset(TABLE)
_OF_ROLE = {role: frozenset(name for name, (_, roles) in TABLE.items() if role in roles) for role in (OWNER, *ROLES)}


SERVER_WIDE = frozenset(("dags:read", "dags:write", "runs:start", "runs:change", "admin"))
"""What is about DAG files and accounts. A server has one set of them, which belongs to its personal workspace."""


def capabilities_in(workspace: str, role: str) -> frozenset[str]:
    """What a role may do in a workspace: nobody gets at the server's files and accounts by a workspace they made themselves."""
    found = capabilities_of(role)
    return found if workspace == PERSONAL.workspace else found - SERVER_WIDE


def capabilities_of(role: str) -> frozenset[str]:
    """What a role may do; a role nobody knows (of a newer version) may do nothing."""
    return _OF_ROLE.get(role, frozenset())


def check_role(role: str) -> str:
    """The role, if there is such a one. Raises `Invalid`."""
    if role not in ROLES:
        problem = Problem(f"must be one of {', '.join(ROLES)}", path="role")
        raise Invalid(f"there is no role {role[:40]!r}: it {problem.message}", [problem])
    return role


def workspace_role(name: str) -> str:
    """Our role for the build registry's name. Raises `Invalid`."""
    role = WORKSPACE_ROLES.get(name)
    if role is None:
        told = "Input should be 'owner', 'admin' or 'member'"
        raise Invalid(f"role: {told}", [Problem(told, path="role")])
    return role


def shown_role(role: str) -> str:
    """The build registry's name for a role of ours: who is neither owner nor admin is a member."""
    return role if role in (OWNER, ADMIN) else "member"
