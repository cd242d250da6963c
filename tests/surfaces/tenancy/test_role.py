"""Roles are named sets of capabilities."""

from __future__ import annotations

from itertools import pairwise

import pytest

from astrarium.errors import Invalid
from astrarium.surfaces.tenancy.role import (
    ALIASES,
    CAPABILITIES,
    EVERY_ROLE,
    FOREIGN_ROLES,
    NARROW_ROLES,
    OWNER,
    ROLES,
    SERVER_WIDE,
    TABLE,
    WORKSPACE_ROLES,
    capabilities_in,
    capabilities_of,
    check_role,
    known_capabilities,
    shown_role,
    workspace_role,
)
from tests.house.source import ROOT


def test_each_role_of_dagu_holds_what_the_next_one_holds_and_more() -> None:
    sets = [capabilities_of(role) for role in ROLES]
    assert all(more > less for more, less in pairwise(sets))
    assert capabilities_of(OWNER) == CAPABILITIES > sets[0]


def test_the_build_registrys_roles_are_ours() -> None:
    assert [shown_role(workspace_role(name)) for name in WORKSPACE_ROLES] == list(WORKSPACE_ROLES) == ["owner", "admin", "member"]
    assert {shown_role(role) for role in ROLES} == {"admin", "member"}
    with pytest.raises(Invalid, match="owner"):
        workspace_role("viewer")


def test_a_workspace_one_made_oneself_opens_nothing_of_the_server() -> None:
    assert capabilities_in("personal", OWNER) == CAPABILITIES
    assert {"admin", "dags:read", "dags:write", "runs:start"}.isdisjoint(capabilities_in("another", OWNER))
    assert capabilities_in("another", OWNER) | SERVER_WIDE == CAPABILITIES > SERVER_WIDE


@pytest.mark.parametrize(("role", "capability", "may"), [
    ("manager", "dags:write", True), ("operator", "dags:write", False), ("operator", "runs:start", True),
    ("viewer", "runs:start", False), ("viewer", "runs:read", True), ("manager", "admin", False), ("root", "self", False),
])  # fmt: skip
def test_what_a_role_may_do(role: str, capability: str, may: bool) -> None:
    assert (capability in capabilities_of(role)) is may


def test_a_role_nobody_knows_is_refused() -> None:
    with pytest.raises(Invalid, match="must be one of admin, manager, operator, viewer"):
        check_role("root")


def test_a_role_for_one_task_sees_what_a_viewer_sees_and_may_one_thing_more() -> None:
    viewer = capabilities_of("viewer")
    more = {role: capabilities_of(role) - viewer for role in NARROW_ROLES}
    assert more == {
        "approver": {"runs:respond", "promotion:approve"}, "analyst": {"counterfactual:run"}, "metrics": set(),
        "auditor": {"audit:read"},
    }  # fmt: skip
    assert capabilities_of("metrics") == {"self", "metrics:read"}
    assert all(capabilities_of(role) > viewer for role in NARROW_ROLES if role != "metrics")


def test_the_roles_of_graphs_are_the_contracts() -> None:
    graphs = {"runs:start", "runs:cancel", "runs:pause", "runs:resume", "runs:respond", "counterfactual:run"}
    operates = {"runs:start", "runs:cancel", "runs:pause", "runs:resume"}
    wanted = {
        "viewer": set(),
        "operator": operates,
        "approver": {"runs:respond"},
        "analyst": {"counterfactual:run"},
        "admin": graphs,
    }
    assert {role: capabilities_of(role) & graphs for role in wanted} == wanted
    reads = {"runs:read", "artifacts:read"}
    assert all(capabilities_of(role) & reads == reads for role in wanted)


def test_a_role_that_counts_in_some_environments_is_a_viewers_elsewhere() -> None:
    def at(environment: str = "") -> frozenset[str]:
        return capabilities_in("another", "admin@production", environment)

    assert at("production") == capabilities_in("another", "admin") > at("local")
    assert at() == at("local") == capabilities_in("another", "viewer")


def test_names_a_token_carries() -> None:
    assert known_capabilities(["runs:counterfactual", "runs:read", "tools:use"]) == {"counterfactual:run", "runs:read"}
    assert set(ALIASES).isdisjoint(CAPABILITIES) and set(ALIASES.values()) <= CAPABILITIES


def test_every_foreign_role_is_one_of_ours() -> None:
    assert {ours for table in FOREIGN_ROLES.values() for ours in table.values()} <= set(EVERY_ROLE)
    assert all(set(roles) <= set(EVERY_ROLE) for _, roles in TABLE.values())


def test_the_words_page_has_the_tables() -> None:
    page = (ROOT / "docs" / "words.md").read_text(encoding="utf-8")
    wanted = [f"| `{capability}` | {meaning} | {', '.join(roles)} |" for capability, (meaning, roles) in TABLE.items()]
    for surface, table in FOREIGN_ROLES.items():
        for ours in dict.fromkeys(table.values()):
            names = ", ".join(f"`{name}`" for name, role in table.items() if role == ours)
            wanted.append(f"| {surface} | {names} | `{ours}` |")
    lines = [line for line in page.partition("| capability |")[2].splitlines() if line.startswith("| ") and "`" in line]
    assert lines == wanted
