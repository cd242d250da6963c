"""The DAGs of the crash tests. Each step notes its beginning and its end as lines of a file of its own."""

from __future__ import annotations

from pathlib import Path

LIMIT = 20
"""Further tries of the steps that have any."""
RETRIED = frozenset({"tried", "part", "called"})
"""Names of the steps with tries left after a kill."""

NOTE = """
file="{folder}/effects/$DAG_RUN_ID.$DAG_RUN_STEP_NAME"
echo "began $$" >> "$file"
sleep {wait}
echo "over $$" >> "$file"
"""

FUNCTION = '''
import os
import time
from pathlib import Path


def note(name, step):
    path = Path(__file__).parent / "effects" / f"{name}.{step}"
    with path.open("a") as file:
        file.write(f"began {os.getpid()}\\n")
    time.sleep(0.02)
    with path.open("a") as file:
        file.write(f"over {os.getpid()}\\n")
'''


def step(name: str, folder: Path, wait: str, *, retry: bool = False) -> str:
    script = NOTE.format(folder=folder, wait=wait).replace("\n", "\n        ")
    text = f"  - name: {name}\n    script: |{script}\n"
    if retry:
        text += f"    retryPolicy:\n      limit: {LIMIT}\n      intervalSec: 0\n"
    return text


def write_dags(folder: Path) -> None:
    (folder / "effects").mkdir(exist_ok=True)
    head = f"env:\n  - CRASH_FOLDER: {folder}\nsteps:\n"
    texts = {
        "plain": head + step("first", folder, "0.05") + "  - name: middle\n    type: noop\n" + step("last", folder, "0.1"),
        "retry": head + step("tried", folder, "0.15", retry=True) + step("after", folder, "0.01"),
        "behind": head + "  - name: ask\n    type: hitl\n    config:\n      prompt: go on?\n" + step("behind", folder, "0.05"),
        "parent": f"{head}  - name: children\n    call: part\n    parallel:\n      items: [a, b]\n"
        f"    retryPolicy:\n      limit: {LIMIT}\n      intervalSec: 0\n---\nname: part\n{head}{step('part', folder, '0.05', retry=True)}",
        "python": f"{head}  - name: called\n    type: python\n    config:\n      call: crash_steps:note\n      args:\n"
        "        name: ${DAG_RUN_ID}\n        step: called\n"
        f"    retryPolicy:\n      limit: {LIMIT}\n      intervalSec: 0\n  - name: end\n    type: noop\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "crash_steps.py").write_text(FUNCTION)
