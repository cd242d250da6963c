"""Steps and conditions as the DAG API shows them."""

from __future__ import annotations

from typing import Any

from .shape import Wire


class Condition(Wire):
    """`matched` is known of a condition that was judged."""

    condition: str
    expected: str = ""
    negate: bool = False
    error: str = ""
    matched: bool | None = None


class CommandEntry(Wire):
    command: str
    args: list[str] = []


class Parallel(Wire):
    items: str | list[str]
    max_concurrent: int = 0


class RepeatPolicy(Wire):
    repeat: str = ""
    interval: int = 0
    limit: int = 0
    backoff: float = 0.0
    max_interval_sec: int = 0
    condition: Condition | None = None
    exit_code: list[int] = []


class ExecutorConfig(Wire):
    type: str = ""
    config: dict[str, Any] = {}


class Step(Wire):
    """`command`, `args`, `cmd_with_args` and `run` say again what `commands` and `call` say, for clients of Dagu before 1.29."""

    name: str
    id: str = ""
    description: str = ""
    dir: str = ""
    commands: list[CommandEntry] = []
    script: str = ""
    stdout: str = ""
    stderr: str = ""
    output: str = ""
    call: str = ""
    params: str = ""
    parallel: Parallel | None = None
    depends: list[str] = []
    repeat_policy: RepeatPolicy | None = None
    mail_on_error: bool = False
    preconditions: list[Condition] = []
    timeout_sec: int = 0
    executor_config: ExecutorConfig | None = None
    command: str = ""
    args: list[str] = []
    cmd_with_args: str = ""
    run: str = ""
