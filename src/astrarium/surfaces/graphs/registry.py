"""The registry as `/v1/registry/{kind}` tells it: tools and stores of installed plugins, skills of plugins and of folders.

A skill of a folder is `<folder>/<name>/SKILL.md`: front matter between lines of `---`, and the system prompt below. Shapes: Stargraph 0.8
(contract 13).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal, TypeVar

import msgspec
import yaml

from ...errors import Invalid, NotFound
from ...lazy import plugins
from ...runs.ports import ToolSpec
from .installed import installed_specs

log = logging.getLogger("astrarium.graphs")
SKILLS_GROUP = "astrarium.skills"
STORES_GROUP = "astrarium.stores"
SKILLS_VARIABLES = ("ASTRARIUM_SKILLS_DIR", "STARGRAPH_SKILLS_DIR")
SKILL_FILE = "SKILL.md"
MAX_SKILL_BYTES = 256 * 1024
MOST_SKILLS = 1000
KINDS = ("tools", "skills", "stores")

T = TypeVar("T")


class Skill(msgspec.Struct, frozen=True):
    """What is told of a skill. Its id is `<namespace>/<name>`."""

    name: str
    description: str
    namespace: str = "local"
    version: str = "0.1.0"
    kind: Literal["agent", "workflow", "utility"] = "agent"
    tools: tuple[str, ...] = ()
    examples: tuple[Any, ...] = ()
    subgraph: str | None = None
    system_prompt: str | None = None

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"


class StoreEntry(msgspec.Struct, frozen=True):
    """What is told of a store a plugin gives. Without capabilities it has the usual two."""

    name: str
    provider: str
    protocol: Literal["vector", "graph", "doc", "memory", "fact"]
    config_schema: dict[str, Any] = {}
    capabilities: tuple[str, ...] = ()


def _entries() -> GenericAlias:
    kinds = (ToolSpec, Skill, StoreEntry)
    fields = {one.name: one.type for kind in kinds for one in msgspec.structs.fields(kind)}
    entry = msgspec.defstruct("RegistryEntry", [(name, kind | None, None) for name, kind in fields.items()], omit_defaults=True)
    return GenericAlias(list, (entry,))


ENTRIES = _entries()
"""What documents say of the entries: each has the keys of one kind, a tool, a skill or a store."""


def registry(kind: str, skills: Sequence[Skill] = ()) -> list[dict[str, Any]]:
    """The entries of a kind; `skills` are those of folders. Raises `NotFound`, and `Invalid` when two have one name."""
    if kind == "tools":
        return [shown(spec) for _, spec in sorted(installed_specs().items())]
    if kind == "skills":
        return [shown(skill) for _, skill in sorted(unique([*plugged(SKILLS_GROUP, Skill), *skills], "skill").items())]
    if kind == "stores":
        return [shown_store(one) for _, one in sorted(_stores().items())]
    raise NotFound(f"unknown registry kind: '{kind[:100]}'", hint=f"kinds are {', '.join(KINDS)}")


def shown(entry: Any) -> dict[str, Any]:
    """An entry with all its keys."""
    told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(entry))
    if "replay_policy" in told:
        told["replay_policy"] = entry.policy
    return told


def shown_store(store: StoreEntry) -> dict[str, Any]:
    usual = [f"db.{store.name}:read", f"db.{store.name}:write"]
    return {**shown(store), "capabilities": list(store.capabilities) or usual}


def skill_ids(skills: Sequence[Skill] = ()) -> set[str]:
    """`namespace/name` of every skill there is."""
    return set(unique([*plugged(SKILLS_GROUP, Skill), *skills], "skill"))


def store_providers() -> set[str]:
    return {store.provider for store in _stores().values()}


def plugged(group: str, kind: type[T]) -> Iterator[T]:
    """What the plugins of a group give: each one entry, or a list of them. Raises `Invalid` for what is none."""
    for entry in plugins(group):
        loaded = entry.load()
        for one in loaded if isinstance(loaded, list | tuple) else (loaded,):
            try:
                yield one if isinstance(one, kind) else msgspec.convert(one, kind)
            except msgspec.ValidationError as error:
                raise Invalid(
                    f"{entry.value} of the group {group} gives no {kind.__name__}: {error}", code="bad_plugin"
                ) from None


def unique(skills: Iterable[Skill], what: str) -> dict[str, Skill]:
    found: dict[str, Skill] = {}
    for one in skills:
        if one.id in found:
            raise Invalid(f"two {what}s are called {one.id}", hint="rename one of them, or move it away", code="bad_plugin")
        found[one.id] = one
    return found


def _stores() -> dict[str, StoreEntry]:
    found: dict[str, StoreEntry] = {}
    for one in plugged(STORES_GROUP, StoreEntry):
        if one.name in found:
            raise Invalid(f"two stores are called {one.name}", hint="uninstall one of them", code="bad_plugin")
        found[one.name] = one
    return found


# -- skills of folders ---------------------------------------------------------------------------------------------------


def skill_folders(environ: Mapping[str, str], cwd: Path, home: Path) -> list[Path]:
    """Where skills are looked for, in order: what a variable names, `./skills`, and those of the user."""
    named = [Path(environ[name]).expanduser() for name in SKILLS_VARIABLES if environ.get(name)]
    return list(dict.fromkeys([*named, cwd / "skills", home / ".astrarium" / "skills", home / ".stargraph" / "skills"]))


def read_skills(folders: Iterable[Path]) -> list[Skill]:
    """Every skill of these folders. One that cannot be read is left out, with a warning. Raises `Invalid` when two have one name."""
    found: list[Skill] = []
    for folder in folders:
        files = sorted(folder.glob(f"*/{SKILL_FILE}")) if folder.is_dir() else []
        for file in files[:MOST_SKILLS]:
            try:
                found.append(read_skill(file))
            except (Invalid, OSError) as error:
                log.warning("the skill %s is left out: %s", file, error)
    unique(found, "skill")
    return found


def read_skill(file: Path) -> Skill:
    """Raises `Invalid`, `OSError`. Keys of the front matter that are not known here are left alone."""
    data = file.read_bytes()
    if len(data) > MAX_SKILL_BYTES:
        raise Invalid(f"it is larger than {MAX_SKILL_BYTES} bytes")
    parts = re.split(r"^---[ \t]*$", data.decode("utf-8-sig", "replace").replace("\r\n", "\n"), maxsplit=2, flags=re.MULTILINE)
    if len(parts) != 3 or parts[0].strip():
        raise Invalid("it does not begin with front matter between lines of ---")
    try:
        front = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        raise Invalid(f"its front matter is no YAML: {error}") from None
    if not isinstance(front, dict):
        raise Invalid("its front matter is no mapping")
    known = {name: value for name, value in front.items() if name in Skill.__struct_fields__ and value is not None}
    if "version" in known:  # YAML reads 1.0 as a number
        known["version"] = str(known["version"])
    try:
        return msgspec.convert({**known, "system_prompt": parts[2].strip() or None}, Skill, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"its front matter does not fit: {error}") from None
