"""`docker`: commands or a script in containers (Dagu 1.30: `container:`, `type: docker`, contract §5), by the Docker Engine API.

A step has a container of its own, or runs in one that exists (`exec`), or in the one the whole run keeps (the DAG's `container`).
What a step makes is removed when it ends; what a run keeps, when the run ends; what a dead server left, by the next one.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import secrets
import shlex
import tarfile
from typing import Any, ClassVar, Literal

import msgspec

from ...runs.ports import Exit, Result, StepFailed, Stoppable, TryContext
from .docker_leftovers import WORKER_LABEL, note_engine
from .docker_order import KEEP_ALIVE, DockerParams, auth_for, body_of, env_words, words_of
from .docker_process import ContainerRun, ProcessRun
from .engine_api import Engine, find_engine
from .python import expand_inside
from .shell import interpreter_of, last_lines

READY_WITHIN_S = 120.0
_LINE_BYTES = 64 * 1024
_PLAIN = frozenset({"shell", "commands", "script", "command"})


class KeptContainer:
    """A container a run keeps between its steps."""

    def __init__(self, address: str, container: str, keep: bool) -> None:
        self.address = address
        self.id = container
        self._keep = keep

    async def close(self) -> None:
        if self._keep:
            return
        engine = Engine(self.address)
        try:
            await engine.remove(self.id)
        except StepFailed:
            pass  # out of reach: it carries this worker's label, and the next worker removes it
        finally:
            await engine.close()


class Docker:
    """Runs in a container; stdout is the step's output, the exit code its own."""

    kind: ClassVar[str] = "docker"
    Params: ClassVar[type[msgspec.Struct]] = DockerParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = True

    async def run(self, ctx: TryContext, params: DockerParams) -> Result:
        plain = msgspec.structs.asdict(params)
        told = {name: value if name in _PLAIN else await expand_inside(ctx, value) for name, value in plain.items()}
        told["env"] = [(name, await ctx.expand(value)) for name, value in params.env]
        for name in ("volumes", "ports", "startup_command"):
            told[name] = [await ctx.expand(text) for text in plain[name]]
        try:
            params = msgspec.convert(told, DockerParams)
        except msgspec.ValidationError as error:
            raise StepFailed(f"{error}, once its variables are expanded") from None
        engine = Engine(find_engine(ctx.declared_env))
        ctx.stdout.parent.mkdir(parents=True, exist_ok=True)
        said_before = ctx.stderr.stat().st_size if ctx.stderr.exists() else 0
        try:
            ended = await _Work(ctx, params, engine).all()
        finally:
            await engine.close()
        if ended is None:
            return Result("cancelled", error="stopped between two commands")
        if not ended.code:
            return Result(exit_code=0)
        said = f"ended by signal {ended.signal}" if ended.signal else f"exit code {ended.code}"
        tail = last_lines(ctx.stderr, said_before)
        return Result("failed", exit_code=ended.code, error=f"{said}\n{tail}" if tail else said)


class _Work:
    """One try."""

    def __init__(self, ctx: TryContext, params: DockerParams, engine: Engine) -> None:
        self._ctx = ctx
        self._params = params
        self._engine = engine

    async def all(self) -> Exit | None:
        """How the last command ended; None when a stop came between two."""
        params, engine = self._params, self._engine
        if params.exec:
            return await self._inside(await self._existing(params.exec))
        if params.shared:
            kept = await self._ctx.keep("container", self._made_for_run)
            assert isinstance(kept, KeptContainer)
            return await self._inside(kept.id)
        container = await (self._serve() if params.serves else self._create(*await self._first_command()))
        try:
            if params.serves:
                return await self._inside(container)
            return await self._ctx.watch(ContainerRun(self._ctx, engine, container))
        finally:
            if not params.keep:
                await asyncio.shield(engine.remove(container))

    # -- containers ---------------------------------------------------------------------------------------------------

    async def _create(self, words: list[str], runner: bool = False) -> str:
        """A container that is not started. `runner`: the first of the words takes the place of the image's entry point."""
        ctx, params, engine = self._ctx, self._params, self._engine
        await asyncio.to_thread(note_engine, ctx.notes, ctx.worker, engine.address)
        await self._pull()
        labels = {"astrarium.run": ctx.run_id, "astrarium.step": ctx.node.name, "astrarium.try": str(ctx.try_no)}
        if not params.keep:
            labels[WORKER_LABEL] = ctx.worker
        body = body_of(params, ctx.workdir, ctx.declared_env, labels)
        if runner:
            body |= {"Entrypoint": words[:1], "Cmd": words[1:]}
        elif words:
            body["Cmd"] = words
        making = asyncio.ensure_future(engine.create(body, params.name, params.platform))
        try:
            container = await asyncio.shield(making)
        except asyncio.CancelledError:
            await engine.remove(await making)
            raise
        if self._script:
            await engine.put_files(container, "/", _as_tar(*self._script))
        return container

    async def _pull(self) -> None:
        params, engine = self._params, self._engine
        if params.pull == "never" or (params.pull == "missing" and await engine.has_image(params.image)):
            return
        auths = (
            params.registry_auths or self._ctx.declared_env.get("DOCKER_AUTH_CONFIG") or os.environ.get("DOCKER_AUTH_CONFIG", "")
        )
        async for line in engine.pull(params.image, params.platform, auth_for(params.image, auths)):
            self._ctx.write(f"{line}\n", error=True)

    async def _serve(self) -> str:
        """A container that runs by itself and is ready."""
        params, engine = self._params, self._engine
        if params.startup == "entrypoint":
            container = await self._create([])
        elif params.startup == "command":
            container = await self._create(list(params.startup_command))
        else:
            container = await self._create(list(KEEP_ALIVE), runner=True)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await engine.start(container)
                await self._ready(container)
        except TimeoutError:
            await engine.remove(container)
            raise StepFailed(f"the container of {params.image} was not ready within {READY_WITHIN_S:g} s") from None
        except BaseException:
            await asyncio.shield(engine.remove(container))
            raise
        return container

    async def _made_for_run(self) -> KeptContainer:
        """With a connection of its own: the step that asked first may be cancelled while others wait."""
        engine = Engine(self._engine.address)
        try:
            container = await _Work(self._ctx, self._params, engine)._serve()
        finally:
            await engine.close()
        return KeptContainer(engine.address, container, self._params.keep)

    async def _ready(self, container: str) -> None:
        params = self._params
        if params.wait_for == "healthy":
            await self._until(container, _is_healthy)
        else:
            await self._until(container, _is_running)
        if params.log_pattern:
            await self._said(container, params.log_pattern)

    async def _existing(self, name: str) -> str:
        """A container somebody else runs; it may be on its way."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self._until(name, _is_there)
        except TimeoutError:
            raise StepFailed(f"no container named {name} is running after {READY_WITHIN_S:g} s") from None
        return name

    async def _until(self, container: str, holds: Any) -> None:
        """Wait for a state; it is looked at when the engine tells of a change."""
        async with self._engine.events(container) as changes:
            if holds(await self._engine.inspect(container)):
                return
            async for _ in changes:
                if holds(await self._engine.inspect(container)):
                    return
        raise StepFailed(f"the container engine stopped telling of {container}")

    async def _said(self, container: str, pattern: str) -> None:
        try:
            wanted = re.compile(pattern.encode())
        except re.error as error:
            raise StepFailed(f"`logPattern` is no regular expression: {error}") from None
        line = b""
        async with self._engine.logs(container) as pieces:
            async for _, data in pieces:
                *whole, line = (line + data).split(b"\n")
                if any(wanted.search(one) for one in (*whole, line)):
                    return
                line = line[-_LINE_BYTES:]
        raise StepFailed(f"the container ended and its output never matched `logPattern` {pattern!r}")

    # -- commands -----------------------------------------------------------------------------------------------------

    _script: tuple[str, bytes] | None = None

    async def _first_command(self) -> tuple[list[str], bool]:
        """The words of a container that is the step itself, and whether they replace the image's entry point."""
        params = self._params
        if params.script:
            return self._script_words(), True
        if params.commands:
            words = words_of(self._ctx.expand_elsewhere(params.commands[0]), params.shell)
            return words, words[0] == "sh" or bool(params.shell)
        return list(params.startup_command), False

    def _script_words(self) -> list[str]:
        """The runner and the script's path inside; the file is put there once the container is made."""
        params, ctx = self._params, self._ctx
        body = ctx.expand_elsewhere(params.script, script=True)
        if params.command:
            runner = shlex.split(ctx.expand_elsewhere(params.command))
        else:
            runner = list(params.shell or interpreter_of(body) or ("sh", "-e"))
        name = f".astrarium-script-{secrets.token_hex(8)}"
        self._script = (name, body.encode("utf-8", "surrogateescape") + b"\n")
        return [*runner, f"/{name}"]

    async def _inside(self, container: str) -> Exit | None:
        params, ctx = self._params, self._ctx
        if params.script:
            words = self._script_words()
            assert self._script is not None
            await self._engine.put_files(container, "/", _as_tar(*self._script))
            return await ctx.watch(self._process(container, ["sh", "-c", '"$@"; c=$?; rm -f "$0"; exit $c', words[-1], *words]))
        ended = Exit(0)
        for text in params.commands:
            if ctx.stopping.is_set():
                return None
            ended = await ctx.watch(self._process(container, words_of(ctx.expand_elsewhere(text), params.shell)))
            if ended.code:
                break
        return ended

    def _process(self, container: str, words: list[str]) -> Stoppable:
        params = self._params
        body: dict[str, Any] = {**params.raw_exec, "Cmd": words, "Env": env_words(self._ctx.declared_env, params.env)}
        body |= {key: value for key, value in (("User", params.user), ("WorkingDir", params.working_dir)) if value}
        return ProcessRun(self._ctx, self._engine, container, body, secrets.token_hex(16))


def _is_there(found: dict[str, Any] | None) -> bool:
    return found is not None and bool(found["State"].get("Running"))


def _is_running(found: dict[str, Any] | None) -> bool:
    state = found["State"] if found else {}
    if state.get("Running"):
        return True
    if not found or state.get("Status") in ("exited", "dead", "stopped"):
        code = f" with exit code {state['ExitCode']}" if found else ""
        raise StepFailed(f"the container ended{code} before it was ready; is its start-up command meant to go on running?")
    return False


def _is_healthy(found: dict[str, Any] | None) -> bool:
    if not _is_running(found):
        return False
    assert found
    health = str((found["State"].get("Health") or found["State"].get("Healthcheck") or {}).get("Status") or "")
    if not health or health == "none":
        raise StepFailed("`waitFor: healthy` needs an image with a health check (HEALTHCHECK); this one has none")
    if health == "unhealthy":
        raise StepFailed("the container is unhealthy by its own health check")
    return health == "healthy"


def _as_tar(name: str, body: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(body), 0o755
        archive.addfile(info, io.BytesIO(body))
    return held.getvalue()


STEP = Docker()
