"""Ctrl-C: targets are whole or absent, claims are given back, the same call goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = """
import sys, threading, time
from pathlib import Path
import astrarium as ar

FOLDER = Path(sys.argv[1])

@ar.task
def first(number: int) -> int:
    return number

class Writes(ar.Task[str]):
    value: ar.TaskLoads[int]

    def requires(self):
        return self.value

    def run(self):
        with self.target().open("w") as file:
            file.write("half")
            file.flush()
            (FOLDER / "began").touch()
            while not (FOLDER / "go").exists():
                time.sleep(0.01)
            file.write(" whole")

if __name__ == "__main__":
    with ar.use_target_roots({"default": str(FOLDER / "roots")}):
        try:
            print(ar.build(Writes(value=first(number=1)), mode=sys.argv[2]).task_count.succeeded)
        except KeyboardInterrupt:
            print("interrupted")
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sequential", "processes"])
def test_ctrl_c_leaves_no_half_target_and_the_next_build_goes_on(tmp_path: Path, mode: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path), mode]
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src")}
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "began").exists():
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)
        told, said = running.communicate(timeout=30)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    assert told.strip() == "interrupted", said
    written = [path.name for path in (tmp_path / "roots" / "Writes").rglob("*") if path.is_file()]
    assert written == []
    (tmp_path / "go").touch()
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert again.stdout.strip() == "1", "what was made before is not made again"
    (target,) = [path for path in (tmp_path / "roots" / "Writes").rglob("*") if path.is_file()]
    assert target.read_text() == "half whole"
