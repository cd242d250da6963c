"""Astrarium: one control plane for work that forms a graph.

The rooms, top to bottom: `cli` (commands), `server` and `worker` (where everything meets), `plugins` (step types and
executors), `surfaces` (one API dialect each), `runs` (the life all graphs share), `web` (HTTP as a toolkit) beside `store`
(where it is kept), `kernel` (the engine), `spec` (what users write), `config` and `errors`. Imports only point down.

Here belong the version, and the names of the SDK (`import astrarium as ar`), each loaded when it is first asked for: the CLI starts from
here, and what it does not need must not cost it time.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """A name of the SDK. Stands here as a text, since an import would load pydantic into every command."""
    if name.startswith("_"):
        raise AttributeError(f"module 'astrarium' has no attribute {name!r}")
    names = import_module("astrarium.sdk.names")
    if name not in names.__all__:
        raise AttributeError(f"module 'astrarium' has no attribute {name!r}")
    found = globals()[name] = getattr(names, name)
    return found
