"""Roles are named sets of capabilities."""

from __future__ import annotations

from itertools import pairwise

import pytest

from astrarium.errors import Invalid
from astrarium.surfaces.tenancy.role import (
    CAPABILITIES,
    OWNER,
    ROLES,
    SERVER_WIDE,
    TABLE,
    WORKSPACE_ROLES,
    capabilities_in,
    capabilities_of,
    check_role,
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


def test_the_words_page_has_the_table() -> None:
    page = (ROOT / "docs" / "words.md").read_text(encoding="utf-8")
    for capability, (meaning, roles) in TABLE.items():
        assert f"| `{capability}` | {meaning} | {', '.join(roles)} |" in page
