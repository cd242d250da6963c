"""Every executor keeps the contract."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrarium.plugins.executors.journal import SpawnJournal
from astrarium.plugins.executors.local import LocalExecutor
from astrarium.runs.ports import Executor

from .executor import ExecutorContract


class TestLocal(ExecutorContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Executor:
        return LocalExecutor(server=f"test-{tmp_path.name}-{os.getpid()}", journal=SpawnJournal(tmp_path / "spawns"))


class TestLocalWithoutPidfd(ExecutorContract):
    """As on platforms where a thread has to wait for each process."""

    @pytest.fixture
    def executor(self, monkeypatch: pytest.MonkeyPatch) -> Executor:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        return LocalExecutor()
