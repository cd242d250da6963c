"""Command lines within the test's process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from astrarium.cli.main import start


class Ran:
    """Runs one command line: its output, checked for its exit code; `err` is what it complained about."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        self._capsys.readouterr()
        done = start(words)
        out, self.err = self._capsys.readouterr()
        assert done == code, out + self.err
        return out

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))


def move_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make `folder` the home and the working folder of the commands that follow, with nothing configured."""
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("ASTRARIUM_DATA_DIR", str(folder / "data"))
    monkeypatch.chdir(folder)
    for variable in [name for name in os.environ if name.startswith("STARDAG_")]:
        monkeypatch.delenv(variable)
    return folder
