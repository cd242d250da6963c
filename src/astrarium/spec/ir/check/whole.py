"""The stages after the schema: the grammar of ids, what is there twice, the version, what is referred to and not installed.

Every check tells its defects and goes on. Stargraph 0.8: contract 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from ....errors import AstrariumError, Invalid
from ..document import Document, Mount
from ..flow import RulePack
from ..installed import API_VERSION, FACTS_VERSION, Installed
from ..pack.manifest import RULES, unfit
from ..pack.policy import REFERENCE, Pack, built_in
from ..pack.rules import read_rules
from ..read import Defect, Findings, at, listing
from ..rule.when import Ground

MAJOR = 1
MAX_NODES = 10_000
ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
_ID_WORDS = "lower-case letters, digits, and _.- after the first, at most 128"
_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
GRAPH_ID = re.compile(r"[^\s\x00-\x1f\x7f]{1,256}")


def check_document(document: Document, found: Findings) -> None:
    """What can be seen in the document alone."""
    _check_version(document.ir_version, found)
    if document.id and not GRAPH_ID.fullmatch(document.id):
        found.add(
            "/id", "a graph's id has no blanks, and at most 256 characters", expected="such as graph:orders", actual=document.id
        )
    if len(document.nodes) > MAX_NODES:
        found.add(
            "/nodes", f"a graph has at most {MAX_NODES} nodes, this one {len(document.nodes)}", expected=f"at most {MAX_NODES}"
        )
    for kind in ("nodes", "rules", "governance"):
        for place, thing in enumerate(getattr(document, kind)):
            if thing.id and not ID.fullmatch(thing.id):
                found.add(at("", kind, place, "id"), f"`{thing.id}` is no id", expected=_ID_WORDS, actual=thing.id)
    for kind in ("nodes", "rules", "governance", "tools", "skills"):
        _refuse_twice(kind, "id", (one.id for one in getattr(document, kind)), found)
    _refuse_twice("stores", "name", (store.name for store in document.stores), found)
    _check_owners(document, found)


def _check_version(version: str, found: Findings) -> None:
    if not version:
        return  # missing: told
    match = _VERSION.fullmatch(version)
    if match is None:
        hint = 'ir_version: "1.1.0"'
        found.add("/ir_version", "this is no version", expected="MAJOR.MINOR.PATCH", actual=version, hint=hint)
    elif int(match[1]) != MAJOR:
        said = f"documents of version {match[1]} cannot be read"
        found.add("/ir_version", said, expected=f"version {MAJOR}.x", actual=version)


def _refuse_twice(kind: str, key: str, names: Iterable[str], found: Findings) -> None:
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        if name and name in first:
            hint = f"first at /{kind}/{first[name]}"
            said = f"`{name}` is there twice in `{kind}`"
            found.add(at("", kind, place, key), said, expected=f"distinct {key}s", actual=name, hint=hint)
        first.setdefault(name, place)


def _check_owners(document: Document, found: Findings) -> None:
    """`node_id` of a rule only says where to draw it, but it must be a node."""
    known = {node.id: None for node in document.nodes}
    for place, rule in enumerate(document.rules):
        if rule.node_id and rule.node_id not in known:
            near = found.suggest(rule.node_id, known)
            said = f"there is no node `{rule.node_id}`{near}"
            found.add(at("/rules", place, "node_id"), said, expected="a node's id", actual=rule.node_id)


def check_installed(document: Document, installed: Installed, found: Findings) -> None:
    """Whether the tools, skills and providers the graph relies on are there."""
    tools = [tool.id if "@" in tool.id or not tool.version else f"{tool.id}@{tool.version}" for tool in document.tools]
    skills = [skill.id for skill in document.skills]
    providers = [store.provider for store in document.stores]
    _refuse_missing(tools, installed.tools, "tool", "/tools", "id", found)
    _refuse_missing(skills, installed.skills, "skill", "/skills", "id", found)
    _refuse_missing(providers, installed.providers, "provider", "/stores", "provider", found)


def _refuse_missing(names: list[str], known: Collection[str] | None, what: str, path: str, key: str, found: Findings) -> None:
    for place, name in enumerate(names):
        if known is not None and name and name not in known and not _any_version(name, known):
            near = found.suggest(name, known)
            said, hint = f"there is no {what} `{name}`{near}", listing(f"{what}s", sorted(known))
            found.add(at(path, place, key), said, expected=f"a {what} that is installed", actual=name, hint=hint)


def _any_version(name: str, known: Collection[str]) -> bool:
    """A tool named without a version is any version of it."""
    return "@" not in name and any(one.startswith(name + "@") for one in known)


def asked_of(giver: Callable[..., Any], *asked: str, path: str, found: Findings) -> Any:
    """What a handed-in function gives, or None after telling why it does not."""
    try:
        return giver(*asked)
    except Invalid as error:
        found.add(path, error.message, actual=asked[0], hint=error.hint)
        found.adopt(error.problems)
    except AstrariumError as error:
        found.add(path, error.message, actual=asked[0], hint=error.hint)
    return None


class ReadPacks(NamedTuple):
    """Rules of packs, and the templates they define, with their slots."""

    packs: tuple[RulePack, ...]
    own: dict[str, tuple[str, ...]]


def load_packs(mounts: tuple[Mount, ...], installed: Installed, found: Findings) -> tuple[tuple[Pack, ...], list[str]]:
    """The mounted packs, and warnings about those whose signature does not hold where that is allowed."""
    packs: list[Pack] = []
    warnings: list[str] = []
    for place, mount in enumerate(mounts):
        path = at("/governance", place)
        pack = _load_pack(mount, path, installed, found)
        for requires, where in ((mount.requires, at(path, "requires")), (pack.requires if pack else None, path)):
            why = unfit(requires, FACTS_VERSION, API_VERSION) if requires else ""
            if why:
                expected = f"facts version {FACTS_VERSION}, API version {API_VERSION}"
                found.add(where, f"the pack `{mount.id}` does not fit: {why}", expected=expected)
        if pack is None:
            continue
        if pack.reason and installed.signed:
            said = f"the signature of the pack `{pack.id}` does not hold: {pack.reason}"
            found.add(path, said, expected="a signature by a trusted key", actual=pack.reason)
        elif pack.reason:
            warnings.append(f"the pack `{pack.id}` is unverified: {pack.reason}")
        packs.append(pack)
    return tuple(packs), warnings


def _load_pack(mount: Mount, path: str, installed: Installed, found: Findings) -> Pack | None:
    if not mount.id:
        return None
    if installed.pack is None and mount.id not in REFERENCE:
        said = f"there is no pack `{mount.id}`{found.suggest(mount.id, REFERENCE)}"
        hint = listing("packs", REFERENCE)
        found.add(at(path, "id"), said, expected="a pack that is installed", actual=mount.id, hint=hint)
        return None
    if installed.pack is None:
        pack = built_in(mount.id)
    else:
        pack = asked_of(installed.pack, mount.id, mount.version, path=at(path, "id"), found=found)
    if pack and pack.id != mount.id:
        said = f"the folder of the pack `{mount.id}` holds another one"
        found.add(at(path, "id"), said, expected=mount.id, actual=pack.id, hint="`id` in its manifest.yaml says which")
    if pack and mount.version and mount.version != pack.version:
        said = f"the pack `{mount.id}` is installed in version {pack.version}"
        found.add(at(path, "version"), said, expected=pack.version, actual=mount.version)
    return pack


def read_packs(packs: tuple[Pack, ...], mounts: tuple[Mount, ...], installed: Installed, ground: Ground, found: Findings) -> ReadPacks:
    """The rules of those packs that have some. `mounts`: where the document names them; others are mounted by a graph around it."""
    made: list[RulePack] = []
    own: dict[str, tuple[str, ...]] = {}
    fields = {field.template or field.name: ("value",) for field in ground.fields.values()}
    fields |= {key: ("value",) for key in ground.answers or ()}
    places = {mount.id: at("/governance", place) for place, mount in enumerate(mounts)}
    for pack in packs:
        if not pack.rules.strip():
            continue
        path, file = places.get(pack.id, "/governance"), f"{pack.id}/{RULES}"
        read = read_rules(pack.rules, pack.id, pack.version, (path, file), fields, ground.facts)
        defects = read.defects
        if not installed.clips:
            said = f"the rules of the pack `{pack.id}` need the rule engine CLIPS, which is not installed"
            found.add(path, said, expected="the extra `clips`", actual=pack.id, hint='pip install "astrarium[clips]"')
        elif installed.engine is not None and not defects:
            defects = [Defect(one.message, path, file, hint=one.hint) for one in installed.engine(read.pack)]
        found.adopt(defects)
        own |= read.own
        made.append(read.pack)
    return ReadPacks(tuple(made), own)
