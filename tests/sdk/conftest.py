"""Each test builds into a folder of its own, with a home of its own and no registry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import astrarium as ar
from astrarium.sdk.target.root import forget_roots
from astrarium.sdk.target.store import IN_MEMORY
from tests.sdk.plan_server import PlanServer


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in list(os.environ):
        if variable.startswith("STARDAG_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    IN_MEMORY.clear()
    forget_roots()
    yield
    forget_roots()


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Path]:
    """The folder below which results lie."""
    with ar.use_target_roots({"default": str(tmp_path / "roots")}):
        yield tmp_path / "roots"


@pytest.fixture
def server() -> PlanServer:
    return PlanServer()
