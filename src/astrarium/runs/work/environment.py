"""What a step's process finds in its environment, and what texts may say of earlier steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ...spec.expand import StepRef
from ..state import RunState, Step

SERVER_NAMES = ("PATH", "HOME", "USER", "SHELL", "TMPDIR", "TERM", "EDITOR", "VISUAL", "LANG", "TZ", "LD_LIBRARY_PATH")
SERVER_PREFIXES = ("LC_", "XDG_", "DAGU_", "DAG_")
SECRET_PREFIXES = ("DAGU_AUTH", "DAGU_BASICAUTH")

LogPaths = Callable[[RunState, Step, int], tuple[Path, Path]]
"""(run, step, try) → its log files."""


def server_environment() -> dict[str, str]:
    """What of the server's own environment a child may see; the server's settings and secrets are not among it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in SERVER_NAMES or (name.startswith(SERVER_PREFIXES) and not name.startswith(SECRET_PREFIXES))
    }


def run_environment(state: RunState, server: Mapping[str, str], default_shell: str) -> dict[str, str]:
    """The environment all steps of a run share, without secrets and outputs; `server` is what it has from the server's own."""
    resolved = state.resolved
    env = dict(server)
    env.update(resolved.env)
    env.update((name, value) for name, value in resolved.params if name)
    if default_shell:
        env["ASTRARIUM_DEFAULT_SHELL"] = default_shell
    env["DAG_NAME"] = state.name
    env["DAG_RUN_ID"] = state.alias
    env["DAGU_PARAMS_JSON"] = resolved.params_json or "{}"
    return env


class StepRefs(Mapping[str, StepRef]):
    """Log files and exit codes of ended steps, by id and name; made when asked for, however many steps there are."""

    def __init__(self, log_paths: LogPaths, state: RunState) -> None:
        self._log_paths = log_paths
        self._state = state

    def __getitem__(self, name: str) -> StepRef:
        step = self._state.steps.get(self._state.known.named[name])
        if step is None or step.status != "done" or not step.try_no:
            raise KeyError(name)
        out, err = self._log_paths(self._state, step, step.try_no)
        return StepRef(str(out), str(err), str(step.exit_code or 0))

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._state.known.named if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
