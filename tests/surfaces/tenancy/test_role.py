"""Roles are named sets of capabilities."""

from __future__ import annotations

from itertools import pairwise

import pytest

from astrarium.errors import Invalid
from astrarium.surfaces.tenancy.role import CAPABILITIES, ROLES, TABLE, capabilities_of, check_role
from tests.house.source import ROOT


def test_each_role_of_dagu_holds_what_the_next_one_holds_and_more() -> None:
    sets = [capabilities_of(role) for role in ROLES]
    assert all(more > less for more, less in pairwise(sets))
    assert sets[0] == CAPABILITIES


@pytest.mark.parametrize(("role", "capability", "may"), [
    ("manager", "dags:write", True), ("operator", "dags:write", False), ("operator", "runs:start", True),
    ("viewer", "runs:start", False), ("viewer", "runs:read", True), ("manager", "admin", False), ("owner", "self", False),
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
