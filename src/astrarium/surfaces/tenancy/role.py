"""Roles as named sets of capabilities: one table for all surfaces.

A capability is what an operation `needs`; a role is which capabilities its callers have. Dagu 1.30: `admin` > `manager` (edit and
run) > `operator` (run, stop) > `viewer`; here they are sets, so a role need not lie between two others. Stargraph's roles are named
sets too (`approver` = viewer and may answer, `analyst` = viewer and may fork, `metrics`); the other surfaces' names are translated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from ...errors import Invalid, Problem
from ...web.caller import EVERYTHING, PERSONAL, Caller

ADMIN, MANAGER, OPERATOR, VIEWER = ROLES = ("admin", "manager", "operator", "viewer")
"""What accounts and keys of `/api/v2` may have: the roles of Dagu."""
OWNER = "owner"
"""Of a workspace; no account or key of `/api/v2` has it."""
APPROVER, ANALYST, METRICS, AUDITOR = NARROW_ROLES = ("approver", "analyst", "metrics", "auditor")
"""Roles for one task each. Keys of an environment and claims of tokens may name them."""
EVERY_ROLE = (OWNER, *ROLES, *NARROW_ROLES)

WORKSPACE_ROLES: Mapping[str, str] = MappingProxyType({"owner": OWNER, "admin": ADMIN, "member": OPERATOR})
"""The build registry's name of a role → ours."""

FOREIGN_ROLES: Mapping[str, Mapping[str, str]] = MappingProxyType({
    "DAGs (Dagu)": MappingProxyType({role: role for role in ROLES}),
    "builds (Stardag)": WORKSPACE_ROLES,
    "graphs (Stargraph)": MappingProxyType({
        role: role for role in (VIEWER, OPERATOR, APPROVER, ANALYST, METRICS, ADMIN)
    }),
    "releases": MappingProxyType({
        "viewer": VIEWER, "developer": OPERATOR, "release_manager": MANAGER, "approver": APPROVER, "operator": OPERATOR,
        "auditor": AUDITOR, "platform_admin": ADMIN, "tenant_admin": OWNER, "ci": OPERATOR,
    }),
})  # fmt: skip
"""surface → its name of a role → ours"""

_PEOPLE = (OWNER, ADMIN, MANAGER, OPERATOR, VIEWER)
_READERS = (*_PEOPLE, APPROVER, ANALYST, AUDITOR)
_WORKERS = (OWNER, ADMIN, MANAGER, OPERATOR)

TABLE: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType({
    "self":        ("see one's own account and change one's password", EVERY_ROLE),
    "dags:read":   ("see DAG files, and search them",                  _READERS),
    "dags:write":  ("make, change, rename and delete DAG files",       (OWNER, ADMIN, MANAGER)),
    "runs:read":   ("see runs, their logs, outputs and queues, and graphs", _READERS),
    "runs:start":  ("start, enqueue and retry runs",                   _WORKERS),
    "runs:change": ("stop runs, edit and approve their steps, suspend", _WORKERS),
    "runs:cancel": ("stop runs of graphs",                             _WORKERS),
    "runs:pause":  ("pause runs of graphs",                            _WORKERS),
    "runs:resume": ("resume runs of graphs",                           _WORKERS),
    "runs:respond": ("answer what a run of a graph asks people",       (OWNER, ADMIN, MANAGER, APPROVER)),
    "counterfactual:run": ("fork a run of a graph, with changes",      (OWNER, ADMIN, MANAGER, ANALYST)),
    "artifacts:read":  ("see and fetch artifacts of runs",             _READERS),
    "artifacts:write": ("write artifacts",                             _WORKERS),
    "builds:read":  ("see builds, tasks, locks and their assets",      _READERS),
    "builds:write": ("start and report builds and tasks, take locks, write assets", _WORKERS),
    "promotion:approve": ("approve and reject promotions of releases", (OWNER, APPROVER)),
    "metrics:read": ("read the numbers for Prometheus",                (*_READERS, METRICS)),
    "audit:read":  ("see and export the audit log",                    (OWNER, ADMIN, AUDITOR)),
    "admin":       ("users, API keys and webhooks",                    (OWNER, ADMIN)),
    "workspaces:read":   ("see one's workspaces: members, environments, keys, target roots", _READERS),
    "workspaces:create": ("make a workspace",                                                _WORKERS),
    "workspaces:write":  ("change a workspace and all it consists of",                       (OWNER, ADMIN)),
    "workspaces:own":    ("delete a workspace, make and unmake its owners",                  (OWNER,)),
})  # fmt: skip
"""capability → what it allows, which roles have it"""

CAPABILITIES = frozenset(TABLE)
ALIASES: Mapping[str, str] = MappingProxyType({"runs:counterfactual": "counterfactual:run"})
"""Other spellings of a capability that tokens may carry (Stargraph's documents write both)."""
_OF_ROLE = {role: frozenset(name for name, (_, roles) in TABLE.items() if role in roles) for role in EVERY_ROLE}


SERVER_WIDE = frozenset(("dags:read", "dags:write", "runs:start", "runs:change", "admin"))
"""What is about DAG files and accounts. A server has one set of them, which belongs to its personal workspace."""


def capabilities_in(workspace: str, role: str, environment: str = "") -> frozenset[str]:
    """What a role may do in a workspace: nobody gets at the server's files and accounts by a workspace they made themselves. A role that
    counts in some environments only (`limited`) is a viewer's in the others, and in what belongs to the whole workspace."""
    name, environments = parts_of(role)
    found = capabilities_of(name if not environments or environment in environments else VIEWER)
    return found if workspace == PERSONAL.workspace else found - SERVER_WIDE


def capabilities_for(caller: Caller, workspace: str, role: str, environment: str = "") -> frozenset[str]:
    """What a role lets a caller do in a workspace. A credential that is good for some capabilities only is so wherever they go."""
    found = capabilities_in(workspace, role, environment)
    is_narrow = caller.capabilities is not EVERYTHING and caller.capabilities < capabilities_in(caller.scope.workspace, caller.role)
    return found & caller.capabilities if is_narrow else found


def limited(role: str, environments: Collection[str]) -> str:
    """The role, such that it counts in these environments only: `operator@<id>,<id>`; without any, in all."""
    return f"{role}@{','.join(sorted(set(environments)))}" if environments else role


def parts_of(role: str) -> tuple[str, tuple[str, ...]]:
    """A role's name and the ids of the environments it counts in; none = all."""
    name, _, environments = role.partition("@")
    return name, tuple(environments.split(",")) if environments else ()


def capabilities_of(role: str) -> frozenset[str]:
    """What a role may do; a role nobody knows (of a newer version) may do nothing."""
    return _OF_ROLE.get(role, frozenset())


def known_capabilities(names: Iterable[str]) -> frozenset[str]:
    """The capabilities there are among names a token carries; the others mean nothing here."""
    return frozenset(ALIASES.get(name, name) for name in names) & CAPABILITIES


def check_role(role: str) -> str:
    """The role, if there is such a one. Raises `Invalid`."""
    if role not in (*ROLES, *NARROW_ROLES):
        problem = Problem(f"must be one of {', '.join((*ROLES, *NARROW_ROLES))}", path="role")
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
    name, _ = parts_of(role)
    return name if name in (OWNER, ADMIN) else "member"
