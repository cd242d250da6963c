"""What the jobs of runs share: the step types, where processes live, where logs go, and which tries execute now."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ...errors import Invalid, Problem
from ...kernel.engine import Engine
from ...kernel.ports import Store
from ...kernel.types import Job
from ...spec.graph import Graph, Node
from ...store.log import RUN_MARK, run_folder, safe_name, try_file
from ...web.egress import Egress
from ..message import RunEnded, RunStopping, StepDropped
from ..ports import Caller, Definitions, Executor, Exit, Outward, ProcessSpec, SecretProvider
from ..ports import Step as StepKind
from ..state import Definition, RunState, Step
from .context import Try
from .environment import server_environment
from .keep import Keep
from .secret import Secrets
from .tool.gate import Denial, denials
from .tool.means import Means
from .tool.policy import is_seen
from .tool.record import record_file
from .trace import is_traced

BACKTICK_LIMIT_BYTES = 1024 * 1024
FOLDERS_KEPT = 2_000
"""Runs whose log folder is known to exist."""


def step_file(round_no: int, name: str) -> str:
    """The step's part of its log files' names: tries count anew in each round."""
    return name if round_no == 1 else f"{name}.r{round_no}"


class Workshop:
    """`steps` are the registered step types by kind; `folder` holds logs and scratch folders."""

    def __init__(
        self,
        engine: Engine,
        steps: Mapping[str, StepKind],
        executor: Executor,
        caller: Caller,
        folder: Path,
        definitions: Definitions,
        *,
        max_log_bytes: int = 0,
        default_shell: str = "",
        egress_allow: str = "",
        secrets: Mapping[str, SecretProvider] | None = None,
        means: Means = Means(),
    ) -> None:
        self.engine = engine
        self.steps = steps
        self.executor = executor
        self.caller = caller
        self.folder = folder
        self.definitions = definitions
        self.max_log_bytes = max_log_bytes
        self.default_shell = default_shell
        self.worker = engine.worker
        self.server_env: Mapping[str, str] = server_environment()
        self.keep = Keep()
        self.secrets = Secrets(secrets or {})
        self.egress: Outward = Egress(egress_allow)
        self.means = means
        self._folders: OrderedDict[str, Path] = OrderedDict()
        self._denied: dict[str, tuple[Denial, ...]] = {}
        self._tries: dict[str, dict[int, Try]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        engine.registry.listen(RunStopping, self._stopping)
        engine.registry.listen(RunEnded, self._ended)
        engine.registry.listen(StepDropped, self._dropped)

    def traced(self, graph: Graph) -> bool:
        """Whether processes are told their place in a distributed trace."""
        return is_traced(graph, os.environ)

    # -- runs and steps -----------------------------------------------------------------------------------------------

    def find(self, job: Job) -> tuple[RunState, Step] | None:
        """A job's run and step, as the engine holds them."""
        hot = self.engine.memory.hot.get(job.stream)
        if hot is None:
            return None
        step = hot.state.steps.get(job.body["no"])
        return (hot.state, step) if step is not None else None

    async def load(self, job: Job) -> RunState | None:
        hot = self.engine.memory.hot.get(job.stream)
        if hot is not None:
            return hot.state  # type: ignore[no-any-return]
        return await self.engine.state(job.stream, await self.engine.scope_of(job))

    def kind_of(self, node: Node) -> StepKind:
        kind = self.steps.get(node.kind)
        if kind is None:
            raise Invalid(
                f"step {node.name!r} is of type {node.kind!r}, which is not installed here",
                hint=f"installed: {', '.join(sorted(self.steps))}",
            )
        return kind

    def params_of(self, definition: Definition, node: int) -> Any:
        """A node's parameters as its step type's model, converted once per definition. Raises `Invalid`."""
        found = definition.params.get(node)
        if found is None:
            found = definition.params[node] = convert_params(self.kind_of(definition.nodes[node]), definition.nodes[node])
        return found

    def plain(self, definition: Definition, node: int) -> tuple[StepKind, Any] | None:
        """The step type and parameters of a node that needs nothing around its call: no processes, templates or policies."""
        if node in definition.plain:
            known: tuple[StepKind, Any] | None = definition.plain[node]
            return known
        shown = definition.nodes[node]
        kind = self.kind_of(shown)
        bare = not (shown.when or shown.retry or shown.repeat or shown.tolerate or shown.timeout_s or shown.env or shown.output)
        seen = is_seen(definition.graph, definition.policy)
        direct = bare and not seen and not kind.captures and not inspect.iscoroutinefunction(kind.run)
        found = (kind, self.params_of(definition, node)) if direct else None
        definition.plain[node] = found
        return found

    def denied(self, state: RunState) -> list[Denial]:
        """What a run's graph needs and runs here are not allowed; not what only nodes want whose results are given."""
        found = self._denied.get(state.graph)
        if found is None:
            found = self._denied[state.graph] = denials(state.known.graph, self.means, self.steps)
        return [one for one in found if one.node not in state.overrides] if found else []

    # -- files --------------------------------------------------------------------------------------------------------

    def run_folder(self, state: RunState) -> Path:
        return self._folders.get(state.run) or run_folder(self.folder / "logs", state.run, state.created_at)

    def make_run_folder(self, state: RunState) -> None:
        """The folder of a run's logs exists from here on."""
        if state.run not in self._folders:
            folder = self._folders[state.run] = self.run_folder(state)
            folder.mkdir(parents=True, exist_ok=True)
            if len(self._folders) > FOLDERS_KEPT:
                self._folders.popitem(last=False)

    def place_logs(self, state: RunState, root: Path) -> None:
        """The run's logs lie below `root` (Dagu 1.30: `<root>/<name>/dag-run_<time>_<id>`); where they are looked for, a link
        leads there. Raises `OSError`."""
        link = self.run_folder(state)
        if link.is_symlink() or link.exists():
            return
        began = datetime.fromtimestamp(state.created_at / 1_000_000, UTC)
        target = root / safe_name(state.name) / f"dag-run_{began:%Y%m%d_%H%M%S}_{safe_name(state.alias)}"
        target.mkdir(parents=True, exist_ok=True)
        (target / RUN_MARK).write_text(state.run)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target.absolute(), target_is_directory=True)

    def log_paths(self, state: RunState, step: Step, try_no: int) -> tuple[Path, Path]:
        """Where a try's stdout and stderr go; those of an inherited step stay where its own run put them."""
        name, origin = state.known.nodes[step.node].name, step.origin
        if origin is not None:
            folder, number = run_folder(self.folder / "logs", origin.run, origin.created_at), step_file(origin.round, name)
            try_no = origin.try_no
        else:
            folder, number = self.run_folder(state), step_file(step.round, name)
        return try_file(folder, number, try_no, "out"), try_file(folder, number, try_no, "err")

    def record_path(self, state: RunState, step: Step, try_no: int) -> Path:
        """Where a try's records go: beside its log."""
        return record_file(self.run_folder(state), step_file(step.round, state.known.nodes[step.node].name), try_no)

    @property
    def reading(self) -> Store:
        return self.engine.store

    def run_log_path(self, state: RunState) -> Path:
        return self.run_folder(state) / "run.log"

    def main_outcome(self, state: RunState) -> str:
        """The outcome handlers are told: the one of the main phase."""
        return state.known.router.verdict(state.memo) or "failed"

    def scratch(self, state: RunState) -> Path:
        """The working folder of a run whose definition has none."""
        return self.folder / "work" / state.run

    # -- processes ----------------------------------------------------------------------------------------------------

    async def backtick(self, command: str, env: Mapping[str, str], cwd: Path) -> str:
        """What a command prints, trimmed. `Invalid` when it fails."""
        code, printed = await self.probe(command, env, cwd)
        if code:
            raise Invalid(f"`{command}` failed with exit code {code}: {printed[-500:]}", code="backtick_failed")
        return printed

    async def probe(self, command: str, env: Mapping[str, str], cwd: Path) -> tuple[int, str]:
        """Exit code and trimmed output (what it said on stderr, when it fails and printed nothing) of a command."""
        with tempfile.TemporaryDirectory(prefix="astrarium-") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            ended = await self._run_shell(command, env, cwd, out, err)
            printed = read_start(out)
            return ended.code, printed if printed or not ended.code else read_start(err)

    async def _run_shell(self, command: str, env: Mapping[str, str], cwd: Path, out: Path, err: Path) -> Exit:
        place = cwd if cwd.is_dir() else Path("/")
        running = await self.executor.start(ProcessSpec(("sh", "-c", command), env, place, out, err))
        try:
            return await running.wait()
        except asyncio.CancelledError:
            await running.stop(signal.SIGKILL, 0.0)
            raise

    # -- tries that execute -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def executing(self, run: str, no: int, attempt: Try) -> Iterator[None]:
        """The try is known while it executes, so that it can be stopped."""
        self._tries.setdefault(run, {})[no] = attempt
        state = self.engine.memory.hot.get(f"run:{run}")
        if state is not None and state.state.status == "stopping" and attempt.node.phase in ("main", "init"):
            attempt.stop("stopped", state.state.stop_grace_s)
        try:
            yield
        finally:
            left = self._tries[run]
            del left[no]
            if not left:
                del self._tries[run]

    def _stopping(self, stream: str, event: RunStopping) -> None:
        for attempt in list(self._tries.get(stream.partition(":")[2], {}).values()):
            attempt.stop("stopped", event.grace_s, event.mode == "cooperative")

    def _dropped(self, stream: str, event: StepDropped) -> None:
        attempt = self._tries.get(stream.partition(":")[2], {}).get(event.no)
        if attempt is not None:
            attempt.stop("stopped", attempt.graph.stop_grace_s)

    def _ended(self, stream: str, event: RunEnded) -> None:
        run = stream.partition(":")[2]
        for attempt in list(self._tries.get(run, {}).values()):
            attempt.stop("stopped", attempt.graph.stop_grace_s)
        if run in self.keep:
            self.spawn_task(self.keep.close(run))

    def stop_all(self, why: str, grace_s: float) -> None:
        """The server stops: every try ends now."""
        for tries in list(self._tries.values()):
            for attempt in list(tries.values()):
                attempt.stop(why, grace_s)

    def spawn_task(self, work: Any) -> None:
        """Start something nobody waits for; it is kept until it is done."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- children -----------------------------------------------------------------------------------------------------

    async def child_run(self, state: RunState, key: str) -> tuple[str, RunState] | None:
        """The run an earlier round started under this key."""
        rows = await self.engine.store.read("SELECT id FROM runs WHERE parent_run = ? AND alias = ?", (state.run, key))
        if not rows:
            return None
        child = await self.engine.state(f"run:{rows[0][0]}", state.scope)
        return (rows[0][0], child) if child is not None else None

    async def live_children(self, run: str, no: int | None = None) -> list[str]:
        """Child runs that have not ended, of one step or all."""
        rows = await self.engine.store.read("SELECT id, parent_step FROM runs WHERE parent_run = ? AND status <> 'ended'", (run,))
        return [row[0] for row in rows if no is None or row[1] == no]


def read_start(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(BACKTICK_LIMIT_BYTES).decode("utf-8", "replace").strip()


def convert_params(kind: StepKind, node: Node) -> Any:
    try:
        return msgspec.convert(node.params, kind.Params)
    except msgspec.ValidationError as error:
        problem = Problem(str(error), path=node.name)
        raise Invalid(f"step {node.name!r} ({node.kind}): {error}", [problem]) from None


def check_graph(graph: Graph, steps: Mapping[str, StepKind]) -> None:
    """Refuse a graph with step types that are not installed, or whose parameters do not fit. Raises `Invalid` with all problems."""
    problems: list[Problem] = []
    for node in graph.nodes:
        kind = steps.get(node.kind)
        if kind is None:
            problems.append(Problem(f"step type {node.kind!r} is not installed", path=node.name))
            continue
        try:
            msgspec.convert(node.params, kind.Params)
        except msgspec.ValidationError as error:
            problems.append(Problem(str(error), path=node.name))
    problems += label_problems(graph)
    if problems:
        raise Invalid(str(problems[0]), problems)


def label_problems(graph: Graph) -> list[Problem]:
    """Complaints about labels (`workerSelector`) that no worker has: this server's own has none, and there is no other."""
    asked = {"workerSelector": graph.meta.get("dag", {}).get("workerSelector")}
    for name, extras in graph.meta.get("steps", {}).items():
        asked[f"{name}.workerSelector"] = extras.get("workerSelector")
    found: list[Problem] = []
    for path, labels in asked.items():
        if isinstance(labels, dict) and labels:
            wanted = ", ".join(f"{name}={value}" for name, value in labels.items())
            hint = "take the `workerSelector` out, or write `local`: this server executes everything itself"
            found.append(Problem(f"no worker has the labels {wanted} that `{path}` asks for", path=path, hint=hint))
    return found
