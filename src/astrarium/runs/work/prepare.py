"""The first job of a run: what its definition leaves open becomes values, recorded once.

Order (Dagu 1.30, contract §3.4–3.5): dotenv files, environment entries, parameters with what the start gave, working
folder, conditions of the whole run. An environment entry may refer to a parameter and a parameter to an environment entry:
the entries are resolved first, with the parameters' plain defaults not yet known, as the contract's examples do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from dotenv import dotenv_values

from ...errors import AstrariumError, Invalid
from ...spec.condition import all_hold
from ...spec.expand import Variables, expand
from ...spec.graph import Graph, Prepare
from ...spec.params import apply_schema, override, params_json, parse_overrides, parse_params, variables
from ...spec.params import resolve as resolve_params
from ..message import Resolved
from ..state import RunState
from .context import read_secrets, server_environment
from .workshop import Workshop


async def resolve(shop: Workshop, state: RunState) -> Resolved:
    """Everything a run's steps will find; what is wrong with it is told in `error`, never raised."""
    graph = state.known.graph
    wanted = graph.prepare or Prepare()
    try:
        return await _resolve(shop, state, graph, wanted)
    except AstrariumError as error:
        return Resolved(error=error.message)
    except OSError as error:
        return Resolved(error=f"{error.filename or 'a file'}: {error.strerror or error}")


async def _resolve(shop: Workshop, state: RunState, graph: Graph, wanted: Prepare) -> Resolved:
    base = Path(graph.base_dir) if graph.base_dir else shop.scratch(state)
    server = server_environment()
    known = {**server, "DAG_NAME": state.name, "DAG_RUN_ID": state.alias}
    known["DAG_RUN_LOG_FILE"] = str(shop.run_log_path(state))

    async def shell(command: str) -> str:
        return await shop.backtick(command, known, base)

    folder = await working_folder(graph, base, known, shell)
    found: dict[str, str] = {}
    found.update(read_dotenv(wanted.dotenv, (folder, base)))
    known.update(found)
    for name, template in wanted.env:
        found[name] = known[name] = os.path.expanduser(await expand(template, Variables(known), shell))
    if graph.workdir and "$" in graph.workdir:
        folder = await working_folder(graph, base, known, shell)
    given = parse_overrides(state.params)
    params = await resolve_params(override(parse_params(wanted.params), given), Variables(known), shell)
    if wanted.param_schema is not None:
        params = apply_schema(params, read_schema(wanted.param_schema, base))
    known.update(variables(params))
    known.update(read_secrets(wanted.secrets, graph.base_dir))
    folder.mkdir(parents=True, exist_ok=True)
    return Resolved(
        tuple((param.name, param.text) for param in params),
        params_json(params, state.params),
        tuple(found.items()),
        wanted.secrets,
        str(folder),
        await unmet(shop, wanted, known, folder),
    )


async def unmet(shop: Workshop, wanted: Prepare, known: dict[str, str], folder: Path) -> str:
    """Why the run is not to happen; empty when all its conditions hold."""
    if not wanted.when:
        return ""

    async def probe(command: str) -> tuple[int, str]:
        return await shop.probe(command, known, folder)

    good, reasons = await all_hold(wanted.when, Variables(known), probe)
    return "" if good else "; ".join(reason for reason in reasons if reason)


async def working_folder(graph: Graph, base: Path, known: dict[str, str], shell: Any) -> Path:
    """The run's folder: the definition's, relative to where the definition lies."""
    if not graph.workdir:
        return base
    return Path(base, os.path.expanduser(await expand(graph.workdir, Variables(known), shell)))


def read_dotenv(names: tuple[str, ...], folders: tuple[Path, ...]) -> dict[str, str]:
    """Variables of the files that exist, later files overriding earlier ones; each is looked up in the folders in order."""
    found: dict[str, str] = {}
    for name in names:
        path = next((Path(folder, name) for folder in folders if Path(folder, name).is_file()), None)
        if path is not None:
            values = dotenv_values(path, interpolate=True)
            found.update({key: value for key, value in values.items() if value is not None})
    return found


def read_schema(schema: Any, base: Path) -> dict[str, Any]:
    """A parameter schema given in place or as a file beside the definition. Raises `Invalid`."""
    if isinstance(schema, dict):
        return schema
    path = Path(base, str(schema))
    if str(schema).startswith(("http://", "https://")):
        raise Invalid(f"params.schema: {schema} is not fetched", hint="save it beside the DAG and name the file")
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise Invalid(f"params.schema: {path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise Invalid(f"params.schema: {path} is not a JSON schema")
    return found


