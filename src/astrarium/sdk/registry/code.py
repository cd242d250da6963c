"""Which code builds: two builds of the same code share what they found out about tasks."""

from __future__ import annotations

import os
import subprocess

from ...spec.ids import uuid7

VARIABLES = ("ASTRARIUM_CODE_ID", "STARDAG_CODE_ID")


def code_id() -> str:
    """`ASTRARIUM_CODE_ID`, else the commit of the working folder when nothing in it has been changed, else an id used once."""
    given = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)
    return given or _commit() or uuid7()


def _commit() -> str | None:
    try:
        changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=10)
        if changed.stdout.strip():
            return None
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        return head.stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git, no repository, no commit yet
        return None
