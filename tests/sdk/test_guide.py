"""The scripts of the guide, and the example, print what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

GUIDE = ROOT / "docs" / "guide" / "sdk.md"
SCRIPT = re.compile(r"```python\n# ([\w.]+)\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
SCRIPTS = SCRIPT.findall(GUIDE.read_text(encoding="utf-8"))


def run(script: Path, home: Path, *arguments: str) -> str:
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, env=environment, cwd=home, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("name", "text", "said"), SCRIPTS, ids=[name for name, _, _ in SCRIPTS])
def test_a_script_of_the_guide_prints_what_it_says(name: str, text: str, said: str, tmp_path: Path) -> None:
    script = tmp_path / name
    script.write_text(text)
    assert run(script, tmp_path) == said


def test_the_example_runs_and_finds_its_results_again(tmp_path: Path) -> None:
    example = ROOT / "examples" / "build_a_pipeline.py"
    assert "build success: 8 made, 0 made before of 8 tasks" in run(example, tmp_path, str(tmp_path / "results"))
    assert "build success: 0 made, 1 made before of 1 tasks" in run(example, tmp_path, str(tmp_path / "results"))
