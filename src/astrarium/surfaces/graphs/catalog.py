"""The graphs a server offers: files named to it, and the files of a folder.

A file named by `--graph` must load, or the server does not start. One of the folder that does not load is reported, and the others are
offered; what was offered before it was broken stays offered. A run keeps its own definition, whatever becomes of the file.

Calls block (disk, imports); the event loop hands them to a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import yaml

from ...errors import Invalid, NotFound, Problem
from ...spec.graph import Graph, encode_graph, graph_hash
from ...spec.ir.compile import Compiled, compile_graph
from ...spec.ir.installed import Installed

SUFFIXES = (".yaml", ".yml", ".json")
MAX_DEPTH = 8
NewThing = tuple[str, bytes]
Stamp = tuple[int, int, int]


class Entry(msgspec.Struct, frozen=True):
    """A graph that is offered. `hash` is what clients know it by, `stored` what its runs refer to; `things` are to be stored with a
    run of it; `fields` the names its state has (None = any)."""

    id: str
    hash: str
    stored: str
    graph: Graph
    things: tuple[NewThing, ...]
    file: Path
    text: str
    nodes: int
    fields: frozenset[str] | None
    migrate: frozenset[tuple[str, str]] = frozenset()
    warnings: tuple[str, ...] = ()


def make_entry(compiled: Compiled, file: Path, text: str) -> Entry:
    """Code that the graph names is looked for beside its file again, whoever runs it."""
    graph = msgspec.structs.replace(compiled.graph, base_dir=str(file.parent))
    data = encode_graph(graph)
    children = tuple(("graph", encode_graph(child)) for child in compiled.children.values())
    flow = graph.flow
    fields = None if flow is None or flow.open_state else frozenset(field.name for field in flow.fields)
    pairs = frozenset((one["from_hash"], one["to_hash"]) for one in graph.meta.get("graph", {}).get("migrate", ()))
    return Entry(
        compiled.id, compiled.hash, graph_hash(data), graph, (("graph", data), *children), file, text, len(graph.nodes), fields, pairs,
        compiled.warnings,
    )  # fmt: skip


class Catalog:
    """`named` are files that must load, `folder` is read with all below it; `installed` says what a document of a folder may refer to,
    `check` what this server can execute (it raises `Invalid`)."""

    def __init__(
        self,
        named: Iterable[Path],
        folder: Path | None,
        installed: Callable[[Path], Installed],
        check: Callable[[Graph], None],
        max_bytes: int,
    ) -> None:
        self.named = tuple(path.absolute() for path in named)
        self.folder = folder
        self.problems: dict[str, tuple[Problem, ...]] = {}
        """What does not load, by file."""
        self._installed = installed
        self._check = check
        self._max_bytes = max_bytes
        self._entries: dict[str, Entry] = {}
        self._kept: dict[Path, tuple[Stamp, Entry]] = {}
        self._reading = threading.Lock()

    # -- reading ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Read everything. Raises `Invalid` with every defect of the files that were named."""
        wrong: list[Problem] = []
        for path in self.named:
            try:
                entry = self.load(path)
                if entry.id in self._entries:
                    raise Invalid(f"`{entry.id}` is the id of {self._entries[entry.id].file.name} too")
                self._entries[entry.id] = entry
            except Invalid as error:
                wrong += error.problems or (Problem(error.message, hint=error.hint),)
        if wrong:
            raise Invalid("a graph does not load", wrong, code="bad_settings")
        self.refresh()

    def refresh(self) -> None:
        """Read the folder anew: what changed, came and went."""
        if self.folder is None:
            return
        with self._reading:
            found: dict[str, Entry] = {entry.id: entry for entry in self._entries.values() if entry.file in self.named}
            before = {entry.file: entry for entry in self._entries.values()}
            problems: dict[str, tuple[Problem, ...]] = {}
            for path in sorted(_walk(self.folder, 0)):
                entry, wrong = self._fresh(path, before.get(path))
                if wrong:
                    problems[str(path.relative_to(self.folder))] = wrong
                if entry is None or entry.file in self.named:
                    continue
                if entry.id in found:
                    told = f"`{entry.id}` is the id of {found[entry.id].file.name} too"
                    problems[str(path.relative_to(self.folder))] = (Problem(told, file=path.name, hint="give it another id"),)
                else:
                    found[entry.id] = entry
            self._entries, self.problems = found, problems

    def _fresh(self, path: Path, before: Entry | None) -> tuple[Entry | None, tuple[Problem, ...]]:
        stamp = _stamp(path)
        kept = self._kept.get(path)
        if stamp is None:
            return None, ()
        if kept is not None and kept[0] == stamp:
            return kept[1], ()
        try:
            entry = self.load(path)
        except Invalid as error:
            return before, error.problems or (Problem(error.message, file=path.name, hint=error.hint),)
        self._kept[path] = (stamp, entry)
        return entry, ()

    def load(self, path: Path) -> Entry:
        """Compile one file. Raises `Invalid` with every defect."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Invalid(f"{path} cannot be read: {error.strerror or error}") from error
        if len(data) > self._max_bytes:
            raise Invalid(f"{path} is larger than {self._max_bytes:,} bytes", hint="the setting max_yaml_bytes allows more")
        return self.compile(data.decode("utf-8-sig", "replace"), path)

    def compile(self, text: str, path: Path) -> Entry:
        """Compile a text as if it were that file. Raises `Invalid`."""
        compiled = compile_graph(text, file=path.name, key=str(path.resolve()), installed=self._installed(path.parent))
        for graph in (compiled.graph, *compiled.children.values()):
            self._check(graph)
        return make_entry(compiled, path, text)

    def repinned(self, entry: Entry, version: str) -> Entry:
        """A graph with its packs in another version. Raises `Invalid`."""
        place = "body.mutation.rule_pack_version"
        document = yaml.safe_load(entry.text)
        mounts = document.get("governance") or []
        if not mounts:
            problem = Problem(f"graph '{entry.id}' mounts no packs", path=place)
            raise Invalid(problem.message, [problem])
        for mount in mounts:
            mount["version"] = version
        try:
            return self.compile(yaml.safe_dump(document, sort_keys=False), entry.file)
        except Invalid as error:
            told = error.problems[0].message if error.problems else error.message
            raise Invalid(told, [Problem(told, path=place)]) from error

    # -- asking -------------------------------------------------------------------------------------------------------

    @property
    def entries(self) -> Mapping[str, Entry]:
        return self._entries

    def find(self, id_: str) -> Entry:
        """Raises `NotFound`."""
        found = self._entries.get(id_)
        if found is None:
            raise NotFound(f"graph '{id_[:200]}' not found", hint="GET /v1/graphs lists them")
        return found


def _walk(folder: Path, depth: int) -> Iterable[Path]:
    """Documents below a folder; what packs consist of is none."""
    try:
        listed = sorted(folder.iterdir())
    except OSError:
        return
    for one in listed:
        if one.name.startswith(".") or one.name in ("packs", "__pycache__", "node_modules"):
            continue
        if one.is_dir() and not one.is_symlink():
            if depth < MAX_DEPTH:
                yield from _walk(one, depth + 1)
        elif one.name.endswith(SUFFIXES):
            yield one


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
