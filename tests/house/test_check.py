"""The linter passes; in `make test-all` the type checker too."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house.source import ROOT


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_ruff_is_content() -> None:
    _run("ruff", "check", "--no-cache", ".")


@pytest.mark.all
@pytest.mark.slow
def test_mypy_is_content() -> None:
    _run("mypy")
