"""One execution of a step: its environment, its files, its processes, and how it is stopped.

The names in a process's environment are those users of the DAG dialect know (Dagu 1.30, contract §3.5), weakest first: an
allow-list of the server's own, the DAG's, parameters, secrets, outputs of ancestors, answers, the step's.
"""

from __future__ import annotations

import asyncio
import os
import signal as signals
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ...errors import Invalid
from ...spec.expand import StepRef, Variables, expand, expand_command, expand_script
from ...spec.graph import Graph, Node
from ..ports import Caller, Definitions, Executor, Exit, ProcessSpec, PythonCall, Running, StepFailed
from ..ports import Step as StepKind
from ..redact import redact
from ..state import RunState, Step

SERVER_NAMES = ("PATH", "HOME", "USER", "SHELL", "TMPDIR", "TERM", "EDITOR", "VISUAL", "LANG", "TZ", "LD_LIBRARY_PATH")
SERVER_PREFIXES = ("LC_", "XDG_", "DAGU_", "DAG_")
TIMED_OUT_CODE = 124
NOWHERE = Path()
"""Where a try's folder and files lie before it has settled."""
STATUS_LABELS = {"succeeded": "succeeded", "partial": "partially_succeeded", "cancelled": "aborted", "rejected": "rejected"}


def server_environment() -> dict[str, str]:
    """What of the server's own environment a child may see; the server's settings and secrets are not among it."""
    return {
        name: value for name, value in os.environ.items() if name in SERVER_NAMES or name.startswith(SERVER_PREFIXES)
    }


def read_secrets(references: tuple[dict[str, Any], ...], base_dir: str) -> dict[str, str]:
    """Values of declared secrets: provider `env` reads a variable of the server, `file` a file. Raises `Invalid`."""
    found: dict[str, str] = {}
    for reference in references:
        name, provider, key = reference["name"], reference.get("provider", "env"), reference.get("key", "")
        if provider == "env":
            value = os.environ.get(key)
        elif provider == "file":
            path = Path(base_dir or ".", Path(key).expanduser())
            try:
                value = path.read_text(encoding="utf-8").rstrip("\n")
            except (OSError, UnicodeDecodeError):
                value = None
        else:
            raise Invalid(f"secret {name}: unknown provider {provider!r}", hint="use env or file")
        if value is None:
            raise Invalid(f"secret {name}: {provider} {key!r} cannot be read", hint="define it where the server runs")
        found[name] = value
    return found


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


class Shop(Protocol):
    """What a try asks of the workshop it is carried out in."""

    executor: Executor
    caller: Caller
    definitions: Definitions
    server_env: Mapping[str, str]
    default_shell: str
    max_log_bytes: int

    def kind_of(self, node: Node) -> StepKind: ...
    def log_paths(self, state: RunState, step: Step, try_no: int) -> tuple[Path, Path]: ...
    def make_run_folder(self, state: RunState) -> None: ...
    def run_log_path(self, state: RunState) -> Path: ...
    def scratch(self, state: RunState) -> Path: ...
    def main_outcome(self, state: RunState) -> str: ...
    def spawn_task(self, work: Any) -> None: ...
    async def backtick(self, command: str, env: Mapping[str, str], cwd: Path) -> str: ...
    async def probe(self, command: str, env: Mapping[str, str], cwd: Path) -> tuple[int, str]: ...


class StepRefs(Mapping[str, StepRef]):
    """Log files and exit codes of ended steps, by id and name; made when asked for, however many steps there are."""

    def __init__(self, shop: Shop, state: RunState) -> None:
        self._shop = shop
        self._state = state

    def __getitem__(self, name: str) -> StepRef:
        step = self._state.steps.get(self._state.known.named[name])
        if step is None or step.status != "done" or not step.try_no:
            raise KeyError(name)
        out, err = self._shop.log_paths(self._state, step, step.try_no)
        return StepRef(str(out), str(err), str(step.exit_code or 0))

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._state.known.named if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Try:
    """The `TryContext` of one execution."""

    def __init__(self, shop: Shop, state: RunState, step: Step) -> None:
        self._shop = shop
        self._state = state
        self._step = step
        self.try_no = step.try_no
        self.pass_no = step.passes

    # What most executions never change stands with the class: a try of a plain step costs little more than its two numbers.
    _task: asyncio.Task[Any] | None = None
    _signal = 0
    _log_offset = 0
    cooperative = False
    ended_by = ""
    """Why it was ended from outside: stopped, timed_out, server_stop; empty = it was not."""
    workdir = stdout = stderr = NOWHERE
    max_log_bytes = 0
    redact: tuple[str, ...] = ()

    @cached_property
    def _live(self) -> list[Running]:
        return []

    @cached_property
    def _grace_s(self) -> float:
        return self.graph.stop_grace_s

    @property
    def no(self) -> int:
        return self._step.no

    @property
    def captures(self) -> bool:
        return self._shop.kind_of(self.node).captures

    @property
    def run_id(self) -> str:
        return self._state.run

    @property
    def run_name(self) -> str:
        return self._state.name

    @property
    def graph(self) -> Graph:
        return self._state.known.graph

    @property
    def node(self) -> Node:
        return self._state.known.nodes[self._step.node]

    @cached_property
    def stopping(self) -> asyncio.Event:
        return asyncio.Event()

    @property
    def executor(self) -> Executor:
        return self._shop.executor

    # -- what a text may refer to -------------------------------------------------------------------------------------

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Outputs this step may see: its ancestors', and for a handler all."""
        state, known = self._state, self._state.known
        ended = [state.steps[no] for no in state.made]
        if ended and self.node.phase == "main":
            visible = known.ancestors(self._step.node)
            ended = [step for step in ended if step.node in visible]
        found: dict[str, str] = {}
        for step in ended:
            wanted = known.nodes[step.node].output
            if wanted is not None and step.output is not None:
                found[wanted.name] = step.output
        return found

    @cached_property
    def secrets(self) -> dict[str, str]:
        return read_secrets(self._state.resolved.secrets, self.graph.base_dir)

    @cached_property
    def shared_env(self) -> dict[str, str]:
        """The environment before the step's own variables."""
        env = run_environment(self._state, self._shop.server_env, self._shop.default_shell)
        env.update(self.secrets)
        env["DAG_RUN_STEP_NAME"] = self.node.name
        env["DAG_RUN_LOG_FILE"] = str(self._shop.run_log_path(self._state))
        env.update(self.outputs)
        env.update(self._state.inputs)
        if self.node.phase not in ("main", "init"):
            env["DAG_RUN_STATUS"] = STATUS_LABELS.get(self._shop.main_outcome(self._state), "failed")
        if self.node.phase == "on_wait":
            waiting = (step for step in self._state.steps.values() if step.status == "asking")
            env["DAG_WAITING_STEPS"] = ",".join(self._state.node(step.no).name for step in waiting)
        return env

    @cached_property
    def step_env(self) -> dict[str, str]:
        return {}

    @cached_property
    def env(self) -> Mapping[str, str]:
        env = {**self.shared_env, **self.step_env}
        env["PWD"] = str(self.workdir)
        env["DAG_RUN_STEP_STDOUT_FILE"] = str(self.stdout)
        env["DAG_RUN_STEP_STDERR_FILE"] = str(self.stderr)
        return env

    def _positional(self) -> dict[str, str]:
        return {str(place): value for place, (_, value) in enumerate(self._state.resolved.params, 1)}

    @cached_property
    def variables(self) -> Variables:
        """Everything a configuration text may name."""
        return Variables({**self.shared_env, **self.step_env, **self._positional()}, StepRefs(self._shop, self._state))

    @cached_property
    def command_variables(self) -> Variables:
        """What is inserted into a command before its shell runs; the rest is left to the shell's environment."""
        named = {name: value for name, value in self._state.resolved.params if name}
        told = {**named, **self.outputs, **self._state.inputs, **self.step_env, **self._positional()}
        return Variables(told, StepRefs(self._shop, self._state))

    async def expand(self, text: str) -> str:
        return await expand(text, self.variables, self.shell)

    def expand_command(self, text: str) -> str:
        return expand_command(text, self.command_variables)

    def expand_script(self, text: str) -> str:
        return expand_script(text, self.command_variables)

    async def shell(self, command: str) -> str:
        """What a backtick's command prints. `Invalid` when it fails."""
        return await self._shop.backtick(command, self.shared_env | self.step_env, self.workdir)

    async def probe(self, command: str) -> tuple[int, str]:
        """Exit code and output of a condition's command."""
        return await self._shop.probe(command, self.shared_env | self.step_env, self.workdir)

    # -- carrying out -------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Find the try's folder, files and own variables; create what is missing."""
        shop, node, state = self._shop, self.node, self._state
        self.redact = tuple(value for value in self.secrets.values() if value)
        workdir = state.resolved.workdir or str(shop.scratch(state))
        self.workdir = Path(workdir)
        for name, template in node.env:
            self.step_env[name] = await self.expand(template)
            self.__dict__.pop("variables", None)  # the next one may use it
        if node.workdir:
            self.workdir = Path(workdir, os.path.expanduser(await self.expand(node.workdir)))
        if not os.path.isdir(self.workdir):
            self.workdir.mkdir(parents=True, exist_ok=True)
        shop.make_run_folder(state)
        self.stdout, self.stderr = shop.log_paths(state, self._step, self.try_no)
        self.max_log_bytes = shop.max_log_bytes
        if node.stdout:
            self.stdout = await self._redirected(node.stdout)
        if node.stderr:
            self.stderr = await self._redirected(node.stderr)
        if node.stdout or node.stderr:
            self.max_log_bytes = 0  # a file of the user's own is never cut
        elif self.graph.merge_output:
            self.stderr = self.stdout
        if node.stdout and self.stdout.exists():
            self._log_offset = self.stdout.stat().st_size  # what was there before is not this step's output

    async def _redirected(self, template: str) -> Path:
        path = Path(self.workdir, os.path.expanduser(await self.expand(template)))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    async def run_process(
        self, argv: tuple[str, ...], *, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Exit:
        if self.stopping.is_set():
            return Exit(128 + signals.SIGTERM, signals.SIGTERM)
        merged = self.stderr == self.stdout
        spec = ProcessSpec(
            argv, env if env is not None else self.env, self.workdir, self.stdout, None if merged else self.stderr,
            stdin, self.redact, self.max_log_bytes, self.tag,
        )  # fmt: skip
        running = await self.executor.start(spec)
        self._live.append(running)
        try:
            if self.stopping.is_set():
                await running.stop(self._signal or signals.SIGTERM, self._grace_s)
            return await running.wait()
        finally:
            self._live.remove(running)

    @property
    def tag(self) -> str:
        return f"{self.run_id}/{self._step.no}/{self.try_no}"

    async def call_python(self, target: str, args: Mapping[str, Any]) -> Any:
        merged = self.stderr == self.stdout
        folder = Path(self.graph.base_dir) if self.graph.base_dir else self.workdir
        call = PythonCall(
            target, args, self.env, self.workdir, folder, self.stdout, None if merged else self.stderr,
            self.redact, self.max_log_bytes, self.tag, self._grace_s,
        )  # fmt: skip
        return await self._shop.caller.call(call)

    def write(self, text: str, *, error: bool = False) -> None:
        path = self.stderr if error else self.stdout
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(redact(text, self.redact) if self.redact else text)

    async def resolve_graph(self, name: str) -> tuple[str, Graph]:
        return await self._shop.definitions(name, self.graph)

    # -- ending -------------------------------------------------------------------------------------------------------

    def stop(self, why: str, grace_s: float, cooperative: bool = False) -> None:
        """End this execution from outside: signal its processes, or cancel what waits in this process."""
        self.ended_by = self.ended_by or why
        self._grace_s = min(self._grace_s, grace_s) if self.stopping.is_set() else grace_s
        self.stopping.set()
        self.cooperative = cooperative
        if cooperative:
            return
        name = self.node.signal_on_stop or "SIGTERM"
        self._signal = int(getattr(signals, name, signals.SIGTERM)) if why == "stopped" else signals.SIGTERM
        if self._live:
            for running in list(self._live):
                self._shop.spawn_task(running.stop(self._signal, self._grace_s))
        elif self._task is not None:
            self._task.cancel()

    async def guard(self, work: Any) -> Any:
        """Run the step's own coroutine such that `stop` and the step's time-out can end it."""
        self._task = asyncio.current_task()
        timer = None
        if self.node.timeout_s:
            timer = asyncio.get_running_loop().call_later(self.node.timeout_s, self.stop, "timed_out", self._grace_s)
        try:
            return await work
        except asyncio.CancelledError:
            if not self.stopping.is_set() or self._task is None:
                raise
            self._task.uncancel()
            raise StepFailed("stopped") from None
        finally:
            self._task = None
            if timer is not None:
                timer.cancel()

    def captured(self) -> str:
        """What the step printed in this execution, both ends trimmed. `StepFailed` above the graph's limit."""
        limit = self.graph.max_output_bytes
        if not self.stdout.exists():
            return ""
        with self.stdout.open("rb") as file:
            file.seek(self._log_offset)
            data = file.read(limit + 1)
        if len(data) > limit:
            raise StepFailed(f"the step's output exceeds the maximum of {limit} bytes (maxOutputSize)")
        return data.decode("utf-8", "replace").strip()

    def printed(self) -> str:
        """The printed text a continue policy looks at; cut at the graph's limit."""
        if not self.stdout.exists():
            return ""
        with self.stdout.open("rb") as file:
            file.seek(self._log_offset)
            return file.read(self.graph.max_output_bytes).decode("utf-8", "replace")

