"""What every step type promises (`runs.ports.Step`), and a small stand-in for the context of a try, for tests of steps."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from astrarium.errors import NotFound
from astrarium.plugins.executors.local import LocalExecutor
from astrarium.plugins.executors.python_pool import PythonPool
from astrarium.runs.ports import Exit, Kept, ProcessSpec, PythonCall, Result, Step, Stoppable
from astrarium.runs.work.keep import Keep
from astrarium.spec.graph import Graph, Node
from astrarium.web.egress import Egress

_REFERENCE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
DEADLINE_S = 20.0


class FakeTry:
    """A try without an engine: real processes and workers, and an expansion that only knows `variables`.

    `graphs` are the definitions a child step may name."""

    def __init__(self, folder: Path, node: Node | None = None, graph: Graph | None = None) -> None:
        self.run_id = "run-1"
        self.run_name = "run-1"
        self.node = node or Node(name="step", kind="noop")
        self.graph = graph or Graph(name="dag")
        self.try_no = 1
        self.pass_no = 0
        self.state: dict[str, Any] = {}
        self.at = 0
        self.env: Mapping[str, str] = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self.workdir = folder
        self.stdout = folder / "log" / "step.1.out"
        self.stderr = folder / "log" / "step.1.err"
        self.redact: tuple[str, ...] = ()
        self.max_log_bytes = 0
        self.executor = LocalExecutor()
        self.pool = PythonPool(self.executor, 1)
        self.stopping = asyncio.Event()
        self.egress = Egress("127.0.0.1")
        self.variables: dict[str, str] = {}
        self.graphs: dict[str, Graph] = {}
        self.ran: list[tuple[str, ...]] = []
        self.running: list[Stoppable] = []
        self.kept = Keep()
        self.worker = "worker-1"
        self.stdout_alone: Path | None = None
        self.notes = folder / "spawned"
        self.server_file: Path | None = None
        self.declared_env: Mapping[str, str] = {}

    async def expand(self, text: str) -> str:
        return self.expand_command(text)

    def expand_command(self, text: str) -> str:
        return _REFERENCE.sub(lambda match: self.variables.get(match[1] or match[2], match[0]), text)

    def expand_script(self, text: str) -> str:
        return self.expand_command(text)

    def expand_elsewhere(self, text: str, *, script: bool = False) -> str:
        return self.expand_command(text)

    async def watch(self, running: Stoppable) -> Exit:
        self.running.append(running)
        try:
            return await running.wait()
        finally:
            self.running.remove(running)

    async def keep(self, key: str, make: Callable[[], Awaitable[Kept]]) -> Kept:
        return await self.kept.find(self.run_id, key, make)

    async def run_process(self, argv: tuple[str, ...], *, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Exit:
        self.ran.append(argv)
        spec = ProcessSpec(argv, env or self.env, self.workdir, self.stdout, self.stderr, stdin, self.redact, tag="fake-try")
        return await (await self.executor.start(spec)).wait()

    async def call_python(self, target: str, args: Mapping[str, Any]) -> Any:
        return await self.pool.call(
            PythonCall(target, args, self.env, self.workdir, self.workdir, self.stdout, self.stderr, self.redact)
        )

    def write(self, text: str, *, error: bool = False) -> None:
        path = self.stderr if error else self.stdout
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    async def resolve_graph(self, name: str) -> tuple[str, Graph]:
        if name not in self.graphs:
            raise NotFound(f"no DAG is named `{name}`")
        return f"hash-of-{name}", self.graphs[name]

    # for the test

    async def run(self, step: Step, **params: Any) -> Result:
        """Run a step with parameters as a graph holds them."""
        async with asyncio.timeout(DEADLINE_S):
            result = step.run(self, msgspec.convert(params, step.Params))
            return result if isinstance(result, Result) else await result

    @property
    def out(self) -> str:
        return self.stdout.read_text() if self.stdout.exists() else ""

    @property
    def err(self) -> str:
        return self.stderr.read_text() if self.stderr.exists() else ""

    async def stop(self, signal: int = 15, grace_s: float = 5.0) -> None:
        """Stop the try as a run's stop does: what it watches is told."""
        self.stopping.set()
        for running in list(self.running):
            await running.stop(signal, grace_s)

    async def close(self) -> None:
        await self.kept.close_all()
        await self.pool.close(0)
        await self.executor.close(0)


class StepContract:
    """For one registered step type; `step` and its entry point's `name` come from the subclass or a fixture."""

    def test_its_name_is_its_kind(self, name: str, step: Step) -> None:
        assert step.kind == name

    def test_it_says_what_it_is(self, name: str, step: Step) -> None:
        assert (type(step).__doc__ or "").strip()
        assert (step.Params.__doc__ or "").strip()

    def test_it_declares_its_habits(self, name: str, step: Step) -> None:
        assert isinstance(step.idempotent, bool)
        assert isinstance(step.captures, bool)
        assert step.place in ("", "process", "python")
        assert callable(step.run)

    def test_an_unknown_parameter_is_refused(self, name: str, step: Step) -> None:
        config = step.Params.__struct_config__
        assert config.forbid_unknown_fields and config.frozen

    def test_its_defaults_are_data(self, name: str, step: Step) -> None:
        """Whatever is not required can be said in JSON, so that a stored graph means the same later."""
        for field in msgspec.structs.fields(step.Params):
            if field.default is not msgspec.NODEFAULT:
                msgspec.json.encode(field.default)
