"""What the one run asks of plugins: `Step` says what is done, `Executor` says where a process lives.

A plugin sees a `TryContext` and returns a `Result`. It never sees the store, the log or the router: retries, repeats,
conditions, time-outs, capture and redaction belong to `runs.work`, which calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import msgspec

from ...spec.graph import Graph, Node
from .tool import Called, Model, Provider, ToolSpec

StepOutcome = Literal[
    "succeeded", "skipped", "failed", "timed_out", "broken", "lost", "cancelled", "aborted", "rejected"
]


Used = dict[str, int | float | str]
"""What something used up: `tokens`, `cost` (a decimal, as text), `latency_ms`."""


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question to people: the step waits, holding no worker and no slot. `schema` is a JSON schema of the answer;
    `timeout_s` counts from the ask, through restarts (0 = for ever) and ends the step as `on_timeout`; `goto` names the node a graph of
    rules goes on with then. `payload` is shown to who answers. In such a graph the whole answer becomes `output_field`, or its keys
    that are fields of the state."""

    prompt: str = ""
    schema: dict[str, Any] = {}
    capability: str = ""
    needed: int = 1
    timeout_s: float = 0.0
    on_timeout: StepOutcome = "timed_out"
    goto: str = ""
    payload: dict[str, Any] = {}
    output_field: str = ""


class Child(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run to start under a step. `key` is the stable client-side id of the child run (a retry finds it again); `state` is what a
    graph of rules starts with."""

    key: str
    graph: str
    name: str
    params: str = ""
    state: dict[str, Any] = {}


class Spawn(msgspec.Struct, frozen=True, omit_defaults=True):
    """The step becomes the parent of these runs and waits for all of them, at most `max_active` at once (0 = all). `parallel` chooses
    the output's shape: a summary over all, or the single child's own. `fields` (parent's → child's, empty = all): what of the
    children's last states becomes this step's patch."""

    children: tuple[Child, ...]
    max_active: int = 0
    parallel: bool = False
    fields: dict[str, str] = {}


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one execution ended. `output` is the text a step hands on; when None, `runs.work` reads captured stdout if the
    node wants an output. `patch` changes the state document of a `rules` graph. `ask` or `spawn` make the step wait instead.
    `code` is a word for why it did not go well; `used` what it used up (`tokens`, `cost`); `said` facts for the rules, as
    {fact, slots}."""

    outcome: StepOutcome = "succeeded"
    output: str | None = None
    patch: dict[str, Any] | None = None
    exit_code: int | None = None
    error: str = ""
    ask: Ask | None = None
    spawn: Spawn | None = None
    code: str = ""
    used: Used | None = None
    said: tuple[dict[str, Any], ...] = ()


class ProcessSpec(msgspec.Struct, frozen=True):
    """A process to start. `env` is its whole environment, `stdout`/`stderr` files are appended to (`stderr` None = same file
    as stdout). `redact` values never reach the files; `max_log_bytes` cuts what is kept of each file (0 = no cap);
    `stdin` is given as bytes, empty = /dev/null; `copy` gets what is written to stdout once more."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    stdout: Path
    stderr: Path | None = None
    stdin: bytes = b""
    redact: tuple[str, ...] = ()
    max_log_bytes: int = 0
    tag: str = ""
    copy: Path | None = None


class Exit(msgspec.Struct, frozen=True):
    """`code` as a shell reports it: 128 + signal when a signal ended it."""

    code: int
    signal: int = 0


class PythonCall(msgspec.Struct, frozen=True):
    """One call of `target` (`module:function`) with keyword `args`. `folder` (the DAG's) comes first on the import path;
    the other fields mean what they mean for `ProcessSpec`. `grace_s`: from a cancel's TERM to its KILL."""

    target: str
    args: Mapping[str, Any]
    env: Mapping[str, str]
    cwd: Path
    folder: Path
    stdout: Path
    stderr: Path | None = None
    redact: tuple[str, ...] = ()
    max_log_bytes: int = 0
    tag: str = ""
    grace_s: float = 5.0


class Caller(Protocol):
    """Where functions are called: warm worker processes. Cancelling `call` ends the worker that runs it."""

    async def call(self, call: PythonCall) -> Any: ...

    async def close(self, grace_s: float) -> None: ...


class Stoppable(Protocol):
    """Something a try started and waits for, here or elsewhere: a process group, a remote command, a container."""

    async def wait(self) -> Exit:
        """Resolves once it has ended and its output is complete in the files. Raises `StepFailed` when its end cannot be known."""

    async def stop(self, signal: int, grace_s: float) -> None:
        """Signal it at once, again each 5 s, KILL after `grace_s`. Returns without waiting for the end."""


class Running(Stoppable, Protocol):
    """A live process group. `wait` resolves once the leader has ended and what it left in its group is gone."""

    pid: int


class Kept(Protocol):
    """Something a run keeps between its steps, like a container."""

    async def close(self) -> None:
        """End it. What cannot be reached any more is let go."""


@runtime_checkable
class Executor(Protocol):
    """Where processes live. Failing to start (no such program, no such folder) raises `OSError`."""

    kind: ClassVar[str]

    @classmethod
    def open(cls, server: str, folder: Path) -> Executor:
        """An executor of the worker `server`; it notes in `folder` what it starts."""

    @classmethod
    def recover(cls, servers: Collection[str], folder: Path) -> int:
        """Kill what ended workers of this host left running, by the notes in `folder`; how many were killed."""

    async def start(self, spec: ProcessSpec) -> Running: ...

    async def close(self, grace_s: float) -> None:
        """Stop everything that still runs and leave no process behind."""


class Outward(Protocol):
    """The way out for calls the server itself makes, to addresses others may choose: what lies inside its own network is refused."""

    def open_client(self, timeout_s: float) -> Any:
        """An `httpx2.AsyncClient` all of whose connections are checked; a refused one raises `Forbidden`."""


class Tool(Protocol):
    """Something a graph, or a model in it, may call: one entry point in the group `astrarium.tools`."""

    spec: ToolSpec

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        """The result, as data. Whatever it raises is the call's error; `StepFailed` tells it without a class name."""


class TryContext(Protocol):
    """What a step may see and do during one try. All texts it needs expanded go through `expand`."""

    try_no: int
    pass_no: int
    workdir: Path
    stdout: Path
    stderr: Path
    redact: tuple[str, ...]
    max_log_bytes: int
    @property
    def run_id(self) -> str: ...

    @property
    def run_name(self) -> str: ...

    @property
    def node(self) -> Node: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def state(self) -> Mapping[str, Any]:
        """The state document of a graph of rules, as it was when the step was visited (branches share one)."""

    @property
    def at(self) -> int:
        """The step's place on the way of a graph of rules."""

    @property
    def egress(self) -> Outward: ...

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the run or step is being stopped; processes started through `run_process` are signalled without the step's help."""

    @property
    def env(self) -> Mapping[str, str]:
        """The whole environment of a child process, outputs of ancestors and step variables included."""

    async def expand(self, text: str) -> str:
        """Expand variables and backticks of a configuration text (contract: dagu.md §3.7 rules 1–4)."""

    def expand_command(self, text: str) -> str:
        """Expand a command line (rule 5): parameters, outputs and step variables only; the rest is the shell's."""

    def expand_script(self, text: str) -> str:
        """Expand a script body: variables only, no backticks."""

    def expand_elsewhere(self, text: str, *, script: bool = False) -> str:
        """Expand a command line or script that no shell of this machine will see: as `expand_command` or `expand_script`, and the
        DAG's own variables and secrets too, since no environment of this machine is found there."""

    @property
    def stdout_alone(self) -> Path | None:
        """A second file for what is printed on stdout, where both streams share the log and stdout is asked for."""

    @property
    def declared_env(self) -> Mapping[str, str]:
        """What a process on another machine is told: `env` without what is this machine's own."""

    @property
    def worker(self) -> str:
        """The id of the worker that executes this try; a mark by which what it leaves is found when it has died."""

    @property
    def notes(self) -> Path:
        """The folder in which workers of this machine note what they start elsewhere."""

    @property
    def server_file(self) -> Path | None:
        """Where the server that executes this try says how it is reached. None for a run of another workspace than the owner's: the
        token in it is theirs."""

    async def watch(self, running: Stoppable) -> Exit:
        """Wait for the end of something this try started elsewhere; until then a stop reaches it instead of cancelling the step."""

    async def keep(self, key: str, make: Callable[[], Awaitable[Kept]]) -> Kept:
        """What the run keeps under `key`, made by the first step that asks; closed when the run or this worker ends."""

    async def run_process(
        self, argv: tuple[str, ...], *, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Exit:
        """Run a process of this try to its end: log files, redaction, stop signals and the place limit are taken care of."""

    async def call_python(self, target: str, args: Mapping[str, Any]) -> Any:
        """Call `module:function` in a warm worker process; its prints go to the try's log. Raises what it raised, as `StepFailed`."""

    def write(self, text: str, *, error: bool = False) -> None:
        """Append to the try's log (redacted)."""

    def emit(self, record: Mapping[str, Any]) -> None:
        """Tell who follows the run of something at once, beside its log: `type` says what (`token`, `tool_call` …)."""

    used: Used | None
    """What was counted so far."""

    def count(self, used: Used) -> None:
        """Count what this try has used up; it counts also when the try fails."""

    def price(self, model: str) -> tuple[Decimal, Decimal] | None:
        """What a million tokens of a model cost, of questions and of answers; None when nobody said."""

    def granted(self, permission: str) -> bool:
        """Whether runs here are allowed this (`tools:std:shell`)."""

    def tool_spec(self, tool: str) -> ToolSpec:
        """What is known of the tool `namespace.name@version`. `NotFound` if it is not installed."""

    async def call_tool(self, tool: str, args: Mapping[str, Any], *, waits: bool = False) -> Called:
        """Call a tool: arguments checked, permissions asked, told to who follows, its result checked and made harmless. A tool may give
        a `Spawn` as its result to a step that `waits`, and then ends with it; to another it is an error."""

    async def replays(self) -> bool:
        """Whether the run was forked from another: then what writes is not done again, but taken from what was recorded."""

    async def open(self) -> None:
        """The try's folder and log files are there from here on, also in a step that starts no process of its own."""

    def provider(self, kind: str) -> Provider:
        """The provider of models of this kind. `NotFound` if it is not installed."""

    @property
    def model(self) -> Model:
        """The model to ask when a node names none."""

    @property
    def files(self) -> Path:
        """The folder which tools may read and write files in."""

    async def put_artifact(self, name: str, content: bytes, content_type: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Keep bytes as an artifact of the run; what clients are told of it. `Invalid`, `TooMuch` when it is not taken."""

    async def resolve_graph(self, name: str) -> tuple[str, Graph]:
        """Find the definition a child step names (local document, DAG file or DAG name) → (hash, graph). `NotFound` if none."""


class StepFailed(Exception):
    """A step's own way to fail with a message and, when it has one, an exit code. `code` is a word for why."""

    def __init__(self, message: str, exit_code: int | None = None, *, code: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code


class Step(Protocol):
    """A step type: one file in `plugins/steps`, one entry point in the group `astrarium.steps`.

    `Params` is a msgspec Struct; a node's `params` are converted to it when a graph is loaded, so a wrong field is refused
    before anything runs. `run` may be a plain function when it neither blocks nor waits; else it is a coroutine function."""

    kind: ClassVar[str]
    Params: ClassVar[type[msgspec.Struct]]
    idempotent: ClassVar[bool]
    """Whether a lost try may simply be executed again."""
    place: ClassVar[Literal["", "process", "python"]]
    """Which of the worker's limited places one try occupies; empty = none."""
    captures: ClassVar[bool]
    """Whether stdout of the log file is the step's output (processes); otherwise `Result.output` is."""

    def run(self, ctx: TryContext, params: Any) -> Result | Awaitable[Result]: ...


SECRETS_GROUP = "astrarium.secrets"
"""The entry points of secret providers."""


class SecretProvider(Protocol):
    """Where declared secrets come from: one file in `plugins/secrets`, one entry point in the group `astrarium.secrets`, named as
    `provider` in a DAG's `secrets`."""

    kind: ClassVar[str]

    async def read(self, key: str, options: Mapping[str, str], base_dir: str) -> str:
        """The value under `key`; `base_dir` is the folder of the definition. Raises `NotFound` when there is none, any other
        `AstrariumError` when it cannot be told. The text of an error must not hold the value."""


Definitions = Callable[[str, Graph], Awaitable[tuple[str, Graph]]]
"""(name, calling graph) → (hash, graph) of the definition a child step names."""
