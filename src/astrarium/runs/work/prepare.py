"""The first job of a run: what its definition leaves open becomes values, recorded once.

Order (Dagu 1.30, contract §3.4–3.5): dotenv files, environment entries, parameters with what the start gave, working
folder, conditions of the whole run. An environment entry may refer to a parameter and a parameter to an environment entry:
the entries are resolved first, with the parameters' plain defaults not yet known, as the contract's examples do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from dotenv import dotenv_values

from ...errors import AstrariumError, Invalid
from ...lazy import library
from ...spec.condition import all_hold
from ...spec.expand import Shell, Variables, expand, expand_variables
from ...spec.graph import Graph, Prepare
from ...spec.params import Param, apply_schema, override, params_json, parse_overrides, parse_params, variables
from ...spec.params import resolve as resolve_params
from ..message import Resolved, StartRun
from ..state import RunState
from .environment import server_environment
from .redact import redact
from .secret import secret_in
from .workshop import Workshop, label_problems

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")

LOG_FILE = "DAG_RUN_LOG_FILE"
SCHEMA_MAX_BYTES = 1024 * 1024
SCHEMA_TIMEOUT_S = 10.0


class NeedsRun(Exception):
    """What is to be resolved asks for what only a run that is recorded has: a process, or its folder of logs."""


class Case(msgspec.Struct, frozen=True):
    """What is resolved, and for which run. `base` is the folder relative paths start from, `inherited` the parent's working folder,
    `log_file` where the run's own log lies; empty while that is not known."""

    graph: Graph
    wanted: Prepare
    name: str
    alias: str
    params: str
    base: Path
    inherited: Path | None = None
    log_file: str = ""


class Means(Protocol):
    """What resolving may use beside files: commands, and the place of the logs. Each may raise `NeedsRun`."""

    async def backtick(self, command: str, env: Mapping[str, str], cwd: Path) -> str: ...
    async def probe(self, command: str, env: Mapping[str, str], cwd: Path) -> tuple[int, str]: ...
    def place_logs(self, root: Path) -> None: ...


class OfRun(NamedTuple):
    """The means of a run that is recorded."""

    shop: Workshop
    state: RunState

    async def backtick(self, command: str, env: Mapping[str, str], cwd: Path) -> str:
        return await self.shop.backtick(command, env, cwd)

    async def probe(self, command: str, env: Mapping[str, str], cwd: Path) -> tuple[int, str]:
        return await self.shop.probe(command, env, cwd)

    def place_logs(self, root: Path) -> None:
        self.shop.place_logs(self.state, root)


class AtBirth:
    """The means of a run that is only about to be: none."""

    async def backtick(self, command: str, env: Mapping[str, str], cwd: Path) -> str:
        raise NeedsRun

    async def probe(self, command: str, env: Mapping[str, str], cwd: Path) -> tuple[int, str]:
        raise NeedsRun

    def place_logs(self, root: Path) -> None:
        raise NeedsRun


async def resolve(shop: Workshop, state: RunState) -> Resolved:
    """Everything a run's steps will find; what is wrong with it is told in `error`, never raised, and without secrets."""
    graph = state.known.graph
    wanted = graph.prepare or Prepare()
    secrets: dict[str, str] = {}
    try:
        refuse_labels(graph)
        secrets = await shop.secrets.read(wanted.secrets, graph.base_dir)
        base = Path(graph.base_dir) if graph.base_dir else shop.scratch(state)
        inherited = await folder_of_parent(shop, state)
        log_file = str(shop.run_log_path(state))
        case = Case(graph, wanted, state.name, state.alias, state.params, base, inherited, log_file)
        return await _resolve(case, OfRun(shop, state), secrets)
    except AstrariumError as error:
        return Resolved(error=redact(error.message, secrets.values()))
    except OSError as error:
        return Resolved(error=redact(f"{error.filename or 'a file'}: {error.strerror or error}", secrets.values()))


async def prepared_start(start: StartRun, graph: Graph) -> StartRun:
    """The order with what its run resolves, so that a run which begins at once is prepared with its first record: a commit less before
    its first step. As it was where that takes more than reading files (commands, secrets, conditions, a parent), or goes wrong: then the
    run's first job does it, and records what is wrong."""
    wanted = graph.prepare
    waits = (start.queue and not start.at_once) or start.parent is not None
    if wanted is None or waits or wanted.secrets or wanted.when or graph.log_dir or not graph.base_dir:
        return start
    templates = msgspec.json.encode((wanted, graph.workdir, start.params))
    if b"`" in templates or LOG_FILE.encode() in templates or isinstance(wanted.param_schema, str):
        return start
    case = Case(graph, wanted, start.name, start.alias, start.params, Path(graph.base_dir))
    try:
        refuse_labels(graph)
        return msgspec.structs.replace(start, resolved=await _resolve(case, AtBirth(), {}))
    except (NeedsRun, AstrariumError, OSError):
        return start


async def _resolve(case: Case, means: Means, secrets: dict[str, str]) -> Resolved:
    graph, wanted, base = case.graph, case.wanted, case.base
    known = {**server_environment(), "DAG_NAME": case.name, "DAG_RUN_ID": case.alias, LOG_FILE: case.log_file}

    async def shell(command: str) -> str:
        return await means.backtick(command, known, base)

    folder = await working_folder(graph, base, case.inherited, known, shell)
    names = [os.path.expanduser(expand_variables(name, Variables(known))) for name in wanted.dotenv]
    found = {name: text for name, text in read_dotenv(names, (folder, base)).items() if name not in secrets}
    known.update(found)
    for name, template in wanted.env:
        found[name] = known[name] = os.path.expanduser(await expand(template, Variables(known), shell))
    if graph.workdir and "$" in graph.workdir:
        folder = await working_folder(graph, base, case.inherited, known, shell)
    given = parse_overrides(case.params)
    params = await resolve_params(override(parse_params(wanted.params), given), Variables(known), shell)
    if wanted.param_schema is not None:
        params = apply_schema(params, await read_schema(wanted.param_schema, (folder, base)))
    known.update(variables(params))
    refuse_secrets(found, params, secrets)
    if graph.log_dir:
        means.place_logs(Path(base, os.path.expanduser(await expand(graph.log_dir, Variables(known), shell))))
    known.update(secrets)
    if not case.log_file and not folder.is_dir():
        raise NeedsRun  # a refused order leaves no folder behind
    folder.mkdir(parents=True, exist_ok=True)
    return Resolved(
        tuple((param.name, param.text) for param in params),
        params_json(params, case.params),
        tuple(found.items()),
        wanted.secrets,
        str(folder),
        redact(await unmet(means, wanted, known, folder), secrets.values()),
    )


def refuse_labels(graph: Graph) -> None:
    """This server's own worker has no labels, and there is no other. Raises `Invalid`."""
    problems = label_problems(graph)
    if problems:
        raise Invalid(problems[0].message, problems, hint=problems[0].hint)


def refuse_secrets(env: Mapping[str, str], params: Sequence[Param], secrets: Mapping[str, str]) -> None:
    """Environment and parameters are recorded with the run, so no secret may be among them. Raises `Invalid`."""
    told = [(f"env: the value of `{name}`", text) for name, text in env.items()]
    told += [(f"params: the value of `{param.name or place}`", param.text) for place, param in enumerate(params, 1)]
    for what, text in told if secrets else ():
        name = secret_in(text, secrets)
        if name:
            hint = f"steps find the secret as ${name}; a step's own `env` may use it"
            raise Invalid(f"{what} holds the secret `{name}` and would be recorded with the run ({hint})", hint=hint)


async def folder_of_parent(shop: Workshop, state: RunState) -> Path | None:
    """Dagu 1.30: a sub-DAG without a `workingDir` works where its parent does."""
    if state.parent is None or state.known.graph.workdir:
        return None
    parent = await shop.engine.state(f"run:{state.parent.run}", state.scope)
    return Path(parent.resolved.workdir) if parent is not None and parent.resolved.workdir else None


async def unmet(means: Means, wanted: Prepare, known: dict[str, str], folder: Path) -> str:
    """Why the run is not to happen; empty when all its conditions hold."""
    if not wanted.when:
        return ""

    async def probe(command: str) -> tuple[int, str]:
        return await means.probe(command, known, folder)

    good, reasons = await all_hold(wanted.when, Variables(known), probe)
    return "" if good else "; ".join(reason for reason in reasons if reason)


async def working_folder(graph: Graph, base: Path, inherited: Path | None, known: dict[str, str], shell: Shell) -> Path:
    """The run's folder: the definition's, relative to where the definition lies."""
    if not graph.workdir:
        return inherited or base
    return Path(base, os.path.expanduser(await expand(graph.workdir, Variables(known), shell)))


def read_dotenv(names: Sequence[str], folders: tuple[Path, ...]) -> dict[str, str]:
    """Variables of the files that exist, later files overriding earlier ones; each is looked up in the folders in order."""
    found: dict[str, str] = {}
    for name in names:
        path = next((Path(folder, name) for folder in folders if Path(folder, name).is_file()), None)
        if path is not None:
            values = dotenv_values(path, interpolate=True)
            found.update({key: value for key, value in values.items() if value is not None})
    return found


async def read_schema(schema: Any, folders: Sequence[Path]) -> dict[str, Any]:
    """A parameter schema given in place, as a file looked for in the folders in order, or under an http address. What a schema
    refers to elsewhere is never fetched. Raises `Invalid`."""
    if isinstance(schema, dict):
        return schema
    name = str(schema)
    if name.startswith(("http://", "https://")):
        data = await fetch_schema(name)
    else:
        places = [Path(folder, os.path.expanduser(name)) for folder in folders]
        path = next((place for place in places if place.is_file()), places[-1])
        try:
            data = await asyncio.to_thread(read_part, path)
        except OSError as error:
            raise Invalid(f"params.schema: {path} cannot be read: {error.strerror or error}") from None
    if len(data) > SCHEMA_MAX_BYTES:
        raise Invalid(f"params.schema: {name} is larger than {SCHEMA_MAX_BYTES:,} bytes")
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"params.schema: {name} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Invalid(f"params.schema: {name} is not a JSON schema")
    return found


def read_part(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SCHEMA_MAX_BYTES + 1)


async def fetch_schema(address: str) -> bytes:
    """A schema from the network, as the DAG's author asks for, bounded in time and size. Raises `Invalid`."""
    parts: list[bytes] = []
    try:
        async with (
            asyncio.timeout(SCHEMA_TIMEOUT_S),
            httpx2.AsyncClient(follow_redirects=True) as client,
            client.stream("GET", address) as answer,
        ):
            if answer.status_code != 200:
                raise Invalid(f"params.schema: {address} answers with status {answer.status_code}")
            async for part in answer.aiter_bytes():
                parts.append(part)
                if sum(map(len, parts)) > SCHEMA_MAX_BYTES:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, UnicodeError) as error:
        raise Invalid(f"params.schema: {address} cannot be fetched: {error or type(error).__name__}") from None
    return b"".join(parts)
