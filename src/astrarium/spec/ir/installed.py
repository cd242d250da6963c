"""What a document refers to and cannot be found in its text: node kinds, tools, code, files, packs.

All of it is handed in by who loads the graph; what is `None` is not known and then not checked. A function that cannot give what is
asked raises an `AstrariumError`, which becomes a defect at the place that asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from ...errors import Problem
from .flow import RulePack
from .pack.policy import Pack
from .state import StateClass

Effects = Literal["none", "read", "write", "external"]

FACTS_VERSION = "1.0"
API_VERSION = "1"


class Kind(msgspec.Struct, frozen=True):
    """A short node kind, as a plugin gives it. `config`: JSON schema of its configuration, None = takes anything; `writes`: keys of
    the configuration that name a state field the node writes; `reads`: keys that name one it reads."""

    effects: Effects = "none"
    config: dict[str, Any] | None = None
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    fingerprint: str = ""


class Tool(msgspec.Struct, frozen=True):
    """A registered tool: JSON schema of its arguments, what a call does to the world, what a caller must be allowed."""

    effects: Effects = "none"
    input_schema: dict[str, Any] = {}
    permissions: tuple[str, ...] = ()
    fingerprint: str = ""


class Code(msgspec.Struct, frozen=True):
    """A Python node that could be imported. `fingerprint`: hash of its source; `config`: JSON schema of its `config_model`; `folder`:
    where it was found, when that is not the document's own."""

    fingerprint: str
    config: dict[str, Any] | None = None
    effects: Effects = "none"
    folder: str = ""


class Child(NamedTuple):
    """The text of a child document and the name to tell it by. `key` is the same for the same file, however it was named; `folder` is
    where it lies, `code` and `state_class` import what it names (None = as for the graph around it)."""

    text: str
    file: str
    key: str
    folder: str = ""
    code: Callable[[str], Code] | None = None
    state_class: Callable[[str], Any] | None = None


class Installed(NamedTuple):
    """`kinds` by short name, `tools` by `namespace.name@version`, `skills` by `namespace/name`, `providers` of stores.
    `code` and `state_class` import `module:Class`; `child(path, parent_file)` reads a child document; `pack(id, version)` loads a pack
    whose signature was judged; `signed`: a pack whose signature was not verified is refused; `clips`: whether raw patterns and rules of
    packs can run; `engine` tells what CLIPS has against such rules, `pattern` what it has against a raw pattern."""

    kinds: Mapping[str, Kind] | None = None
    tools: Mapping[str, Tool] | None = None
    skills: Collection[str] | None = None
    providers: Collection[str] | None = None
    code: Callable[[str], Code] | None = None
    state_class: Callable[[str], StateClass] | None = None
    child: Callable[[str, str], Child] | None = None
    pack: Callable[[str, str], Pack] | None = None
    signed: bool = False
    clips: bool = True
    engine: Callable[[RulePack], list[Problem]] | None = None
    pattern: Callable[[str], list[Problem]] | None = None


NOTHING_KNOWN = Installed()
