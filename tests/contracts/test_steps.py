"""Every registered step type keeps the contract."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from astrarium.runs.ports import Step

from .step import StepContract

BUILT_IN = {"shell", "python", "http", "jq", "child", "wait", "noop", "ssh", "mail", "archive", "docker"}
REGISTERED = {entry.name: entry for entry in entry_points(group="astrarium.steps")}


def test_the_built_in_ones_are_registered() -> None:
    assert set(REGISTERED) >= BUILT_IN


@pytest.mark.parametrize("name", sorted(REGISTERED))
class TestStep(StepContract):
    @pytest.fixture
    def step(self, name: str) -> Step:
        return REGISTERED[name].load()
