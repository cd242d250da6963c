"""A build as one call with texts, for a step of a graph: what is to be made is named, what came of it is data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from ...config import load_config
from ...config.live import read_live
from ...errors import Invalid
from ..registry.api import APIRegistry
from ..registry.entry import default_registry
from ..registry.port import Registry
from ..session import Session
from ..session.root import fetch_roots, fixed_roots, usable_roots
from ..target.root import use_target_roots
from ..target.target import Target
from ..task.task import Task
from .entry import build
from .executor import Mode
from .named import find_tasks

SHOWN_BYTES = 16 * 1024
"""A result up to this size is told with the place where it lies."""


def build_called(task: str, params: Mapping[str, Any], mode: Mode, max_concurrent: int, server_file: str) -> dict[str, Any]:
    """Build the one task `task` names, and tell where its result lies, with the value where that is a small text or JSON.

    Builds are recorded where the environment says (`ASTRARIUM_REGISTRY_URL`); else at the live server of `server_file`; else where the
    user's own configuration says, or nowhere. Raises `BuildFailed`, and what `find_tasks` raises."""
    found = find_tasks(task, params)
    if len(found) != 1:
        raise Invalid(f"{task} gives {len(found)} tasks", hint="a step makes one: let it be one that needs the others")
    registry, roots = _registry(Path(server_file) if server_file else None)
    with roots:
        try:
            told = build(found[0], mode=mode, max_concurrent=max_concurrent, registry=registry, progress="lines")
        finally:
            if isinstance(registry, APIRegistry):
                registry.close()
        return {"task_id": str(found[0].id), "build_id": told.build_id, **_result(found[0])}


def _registry(server_file: Path | None) -> tuple[Registry, AbstractContextManager[None]]:
    """Who records the build, and the target roots it works below."""
    config = load_config()
    chosen = config.no_registry or config.source_of("registry_url") in os.environ
    server = None if chosen or server_file is None else read_live(server_file)
    if server is None:
        return default_registry(), nullcontext()
    session = Session(load_config(registry_url=server.url, api_key=server.token))
    roots = fixed_roots(session) or usable_roots(session, fetch_roots(session))
    return APIRegistry(session=session), use_target_roots(roots) if roots else nullcontext()


def _result(task: Task[Any]) -> dict[str, Any]:
    """Where the result lies, and what it is when that can be shown."""
    target = task.target()
    told: dict[str, Any] = {"uri": target.uri}
    if not isinstance(target, Target) or not target.uri.endswith((".json", ".txt")):
        return told
    content = target.read()
    if len(content) > SHOWN_BYTES:
        return told
    try:
        told["value"] = msgspec.json.decode(content) if target.uri.endswith(".json") else content.decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # not what its name says: the place is told all the same
    return told
