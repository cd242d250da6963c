"""One execution of a step: its environment, its files, its processes, and how it is stopped.

The names in a process's environment are those users of the DAG dialect know (Dagu 1.30, contract §3.5), weakest first: an
allow-list of the server's own, the DAG's, parameters, secrets, outputs of ancestors, answers, the step's.
"""

from __future__ import annotations

import asyncio
import os
import signal as signals
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ...config.live import SERVER_FILE
from ...kernel.types import Scope
from ...spec.expand import Variables, expand, expand_command, expand_script
from ...spec.graph import Graph, Node
from ..ports import Caller, Definitions, Executor, Exit, Kept, Outward, ProcessSpec, PythonCall, StepFailed, Stoppable
from ..ports import Step as StepKind
from ..state import RunState, Step
from .environment import StepRefs, run_environment
from .keep import Keep
from .redact import redact
from .secret import Secrets
from .tool.use import Bench, ToolUse
from .trace import TRACEPARENT, traceparent

TIMED_OUT_CODE = 124
LONG_S = 1e6
"""A grace longer than this is none: the try is waited for."""
OWNERS = Scope("personal", "local")
"""Where the runs of the server's owner live (`web.caller.PERSONAL`, which needs the web framework to name)."""
NOWHERE = Path()
"""Where a try's folder and files lie before it has settled."""
STATUS_LABELS = {"succeeded": "succeeded", "partial": "partially_succeeded", "cancelled": "aborted", "rejected": "rejected"}


class Shop(Bench, Protocol):
    """What a try asks of the workshop it is carried out in."""

    executor: Executor
    caller: Caller
    definitions: Definitions
    server_env: Mapping[str, str]
    default_shell: str
    max_log_bytes: int
    worker: str
    keep: Keep
    secrets: Secrets
    egress: Outward

    def kind_of(self, node: Node) -> StepKind: ...
    def log_paths(self, state: RunState, step: Step, try_no: int) -> tuple[Path, Path]: ...
    def run_log_path(self, state: RunState) -> Path: ...
    def main_outcome(self, state: RunState) -> str: ...
    def spawn_task(self, work: Any) -> None: ...
    def traced(self, graph: Graph) -> bool: ...
    async def backtick(self, command: str, env: Mapping[str, str], cwd: Path) -> str: ...
    async def probe(self, command: str, env: Mapping[str, str], cwd: Path) -> tuple[int, str]: ...


class Try(ToolUse):
    """The `TryContext` of one execution."""

    def __init__(self, shop: Shop, state: RunState, step: Step) -> None:
        self._shop: Shop = shop
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
    secrets: Mapping[str, str] = {}
    """Declared secrets by name, once the try has settled."""
    _printed: Path | None = None
    """What was printed on stdout alone, where it shares its log file with stderr."""

    @cached_property
    def _live(self) -> list[Stoppable]:
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
    def state(self) -> Mapping[str, Any]:
        return self._state.document

    @property
    def at(self) -> int:
        return self._step.place

    @property
    def node(self) -> Node:
        return self._state.known.nodes[self._step.node]

    @cached_property
    def stopping(self) -> asyncio.Event:
        return asyncio.Event()

    @property
    def executor(self) -> Executor:
        return self._shop.executor

    @property
    def worker(self) -> str:
        return self._shop.worker

    @property
    def egress(self) -> Outward:
        return self._shop.egress

    @property
    def stdout_alone(self) -> Path | None:
        return self._printed

    @property
    def notes(self) -> Path:
        return self._shop.folder / "spawned"

    @property
    def server_file(self) -> Path | None:
        return self._shop.folder / SERVER_FILE if self._state.scope == OWNERS else None

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
    def shared_env(self) -> dict[str, str]:
        """The environment before the step's own variables."""
        return self._shared(self._shop.server_env)

    def _shared(self, server: Mapping[str, str]) -> dict[str, str]:
        env = run_environment(self._state, server, self._shop.default_shell)
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
        if self._shop.traced(self.graph):
            env[TRACEPARENT] = traceparent(self._state.root or self._state.run, self._state.run, self._state.round, self.no)
        return env

    @cached_property
    def declared_env(self) -> Mapping[str, str]:
        return {**self._shared({}), **self.step_env}

    def _positional(self) -> dict[str, str]:
        return {str(place): value for place, (_, value) in enumerate(self._state.resolved.params, 1)}

    @cached_property
    def variables(self) -> Variables:
        """Everything a configuration text may name."""
        return Variables({**self.shared_env, **self.step_env, **self._positional()}, StepRefs(self._shop.log_paths, self._state))

    @cached_property
    def command_variables(self) -> Variables:
        """What is inserted into a command before its shell runs; the rest is left to the shell's environment."""
        named = {name: value for name, value in self._state.resolved.params if name}
        told = {**named, **self.outputs, **self._state.inputs, **self.step_env, **self._positional()}
        return Variables(told, StepRefs(self._shop.log_paths, self._state))

    async def expand(self, text: str) -> str:
        return await expand(text, self.variables, self.shell)

    def expand_command(self, text: str) -> str:
        return expand_command(text, self.command_variables)

    def expand_script(self, text: str) -> str:
        return expand_script(text, self.command_variables)

    def expand_elsewhere(self, text: str, *, script: bool = False) -> str:
        told = Variables({**self.declared_env, **self._positional()}, StepRefs(self._shop.log_paths, self._state))
        return expand_script(text, told) if script else expand_command(text, told)

    async def shell(self, command: str) -> str:
        """What a backtick's command prints. `Invalid` when it fails."""
        return await self._shop.backtick(command, self.shared_env | self.step_env, self.workdir)

    async def probe(self, command: str) -> tuple[int, str]:
        """Exit code and output of a condition's command."""
        return await self._shop.probe(command, self.shared_env | self.step_env, self.workdir)

    # -- carrying out -------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Find the try's folder, files and own variables; create what is missing. A node of a graph of rules that starts nothing needs
        none of it: at a thousand steps a second the folders would cost more than the steps."""
        shop, node, state = self._shop, self.node, self._state
        kind = shop.kind_of(node)
        if state.known.shape is not None and not (kind.place or kind.captures or state.resolved.secrets or node.env):
            return
        await self.open()

    async def open(self) -> None:
        """As `settle`, whether it is needed or not: a step that finds out late that it starts a process calls it."""
        if self.stdout is not NOWHERE and self.workdir is not NOWHERE:
            return
        shop, node, state = self._shop, self.node, self._state
        if state.resolved.secrets:
            self.secrets = await shop.secrets.read(state.resolved.secrets, self.graph.base_dir)
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
        if self.graph.merges(node):
            self._merge_output()
        if node.stdout:
            self.stdout = await self._redirected(node.stdout, self.stdout)
            self.stderr = self.stdout if self._merged else self.stderr
        if node.stderr:
            self.stderr = await self._redirected(node.stderr, shop.log_paths(state, self._step, self.try_no)[1])
        if node.stdout or node.stderr:
            self.max_log_bytes = 0  # a file of the user's own is never cut
        if node.stdout and self.stdout.exists():
            self._log_offset = self.stdout.stat().st_size  # what was there before is not this step's output

    _merged = False

    def _merge_output(self) -> None:
        """Both streams go to one file; where stdout alone is asked for, it goes to a file of its own as well."""
        node, self._merged, self.stderr = self.node, True, self.stdout
        if self.captures and (node.output is not None or (node.tolerate is not None and node.tolerate.output)):
            self._printed = self.stdout.with_name(self.stdout.name + ".only")

    async def _redirected(self, template: str, log: Path) -> Path:
        """The file a user names; where the try's log is looked for, a link leads there."""
        path = Path(self.workdir, os.path.expanduser(await self.expand(template)))
        path.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        log.symlink_to(path.absolute())
        return path

    async def run_process(
        self, argv: tuple[str, ...], *, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Exit:
        if self.stopping.is_set():
            return Exit(128 + signals.SIGTERM, signals.SIGTERM)
        merged = self.stderr == self.stdout
        spec = ProcessSpec(
            argv, env if env is not None else self.env, self.workdir, self.stdout, None if merged else self.stderr,
            stdin, self.redact, self.max_log_bytes, self.tag, self._printed,
        )  # fmt: skip
        return await self.watch(await self.executor.start(spec))

    async def watch(self, running: Stoppable) -> Exit:
        self._live.append(running)
        try:
            if self.stopping.is_set():
                await running.stop(self._signal or signals.SIGTERM, self._grace_s)
            return await running.wait()
        finally:
            self._live.remove(running)

    async def keep(self, key: str, make: Callable[[], Awaitable[Kept]]) -> Kept:
        return await self._shop.keep.find(self.run_id, key, make)

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
        if self.stdout is NOWHERE:
            self._shop.make_run_folder(self._state)
            self.stdout, self.stderr = self._shop.log_paths(self._state, self._step, self.try_no)
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
            if grace_s < LONG_S:
                asyncio.get_running_loop().call_later(grace_s, self.stop, why, self.graph.stop_grace_s)
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
        data = self._read_printed(limit + 1)
        if len(data) > limit:
            raise StepFailed(f"the step's output exceeds the maximum of {limit} bytes (maxOutputSize)")
        return data.decode("utf-8", "replace").strip()

    def printed(self) -> str:
        """The printed text a continue policy looks at; cut at the graph's limit."""
        return self._read_printed(self.graph.max_output_bytes).decode("utf-8", "replace")

    def _read_printed(self, most_bytes: int) -> bytes:
        path, offset = (self._printed, 0) if self._printed is not None else (self.stdout, self._log_offset)
        if not path.is_file():  # nothing was begun, or it went to a pipe of the user's
            return b""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(most_bytes)

    def tidy(self) -> None:
        """The try has been judged: what was kept only for that goes."""
        if self._printed is not None:
            self._printed.unlink(missing_ok=True)
