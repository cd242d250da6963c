"""The graphs a server offers: files named to it, and the files of a folder.

A file named by `--graph` must load, or the server does not start. One of the folder that does not load is reported, and the others are
offered; what was offered before it was broken stays offered. A graph is compiled anew when its file has changed, or a module, child or
pack it is made of. A run keeps its own definition, whatever becomes of the file.

Calls block (disk, imports); the event loop hands them to a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import yaml

from ...errors import Invalid, NotFound, Problem
from ...runs.ports.code import Stamp, stamp_of
from ...spec.graph import Graph, encode_graph, graph_hash
from ...spec.ir.compile import Compiled, compile_graph
from ...spec.ir.installed import Installed
from .work.load import noting

SUFFIXES = (".yaml", ".yml", ".json")
MAX_DEPTH = 8
NewThing = tuple[str, bytes]


class Entry(msgspec.Struct, frozen=True):
    """A graph that is offered. `hash` is what clients know it by, `stored` what its runs refer to; `things` are to be stored with a
    run of it; `fields` the names its state has (None = any); `stamps` how the files it is made of were."""

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
    stamps: tuple[tuple[Path, Stamp | None], ...] = ()

    @property
    def is_fresh(self) -> bool:
        return all(stamp_of(path) == stamp for path, stamp in self.stamps)


def make_entry(compiled: Compiled, file: Path, text: str, sources: Iterable[Path] = ()) -> Entry:
    """Code that the graph names is looked for beside its file again, whoever runs it."""
    graph = msgspec.structs.replace(compiled.graph, base_dir=str(file.parent))
    data = encode_graph(graph)
    children = tuple(("graph", encode_graph(child)) for child in compiled.children.values())
    flow = graph.flow
    fields = None if flow is None or flow.open_state else frozenset(field.name for field in flow.fields)
    stamps = tuple((path, stamp_of(path)) for path in (file, *sorted(sources)))
    pairs = frozenset((one["from_hash"], one["to_hash"]) for one in graph.meta.get("graph", {}).get("migrate", ()))
    return Entry(
        compiled.id, compiled.hash, graph_hash(data), graph, (("graph", data), *children), file, text, len(graph.nodes), fields, pairs,
        compiled.warnings, stamps,
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
        """Read anew what changed, came and went."""
        with self._reading:
            found: dict[str, Entry] = {}
            before = {entry.file: entry for entry in self._entries.values()}
            problems: dict[str, tuple[Problem, ...]] = {}
            here = sorted(set(_walk(self.folder, 0)) - set(self.named)) if self.folder is not None else []
            for path in (*self.named, *here):
                entry, wrong = self._fresh(path, before.get(path))
                inside = self.folder is not None and self.folder in path.parents
                name = str(path.relative_to(self.folder or "") if inside else path)
                if wrong:
                    problems[name] = wrong
                if entry is None:
                    continue
                if entry.id in found:
                    told = f"`{entry.id}` is the id of {found[entry.id].file.name} too"
                    problems[name] = (Problem(told, file=path.name, hint="give it another id"),)
                else:
                    found[entry.id] = entry
            self._entries, self.problems = found, problems

    def _fresh(self, path: Path, before: Entry | None) -> tuple[Entry | None, tuple[Problem, ...]]:
        """The file's graph, or what it was before it was broken. One that was named stays even when its file is gone."""
        if stamp_of(path) is None:
            return before if path in self.named else None, ()
        if before is not None and before.is_fresh:
            return before, ()
        try:
            return self.load(path), ()
        except Invalid as error:
            return before, error.problems or (Problem(error.message, file=path.name, hint=error.hint),)

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
        with noting() as sources:
            compiled = compile_graph(text, file=path.name, key=str(path.resolve()), installed=self._installed(path.parent))
        for graph in (compiled.graph, *compiled.children.values()):
            self._check(graph)
        return make_entry(compiled, path, text, sources)

    def repinned(self, entry: Entry, version: str) -> Entry:
        """A graph with those of its packs in another version that are installed in it. Raises `Invalid` when none is."""
        place = "body.mutation.rule_pack_version"
        document = yaml.safe_load(entry.text)
        mounts = document.get("governance") or []
        if not mounts:
            problem = Problem(f"graph '{entry.id}' mounts no packs", path=place)
            raise Invalid(problem.message, [problem])
        again = [mount for mount in mounts if self._has(entry.file.parent, mount["id"], version)]
        for mount in again:
            mount["version"] = version
        if not again:
            problem = Problem(f"no pack that graph '{entry.id}' mounts is installed in version {version}", path=place)
            raise Invalid(problem.message, [problem])
        try:
            return self.compile(yaml.safe_dump(document, sort_keys=False), entry.file)
        except Invalid as error:
            told = error.problems[0].message if error.problems else error.message
            raise Invalid(told, [Problem(told, path=place)]) from error

    def _has(self, folder: Path, pack: str, version: str) -> bool:
        load = self._installed(folder).pack
        try:
            return load is not None and load(pack, version).version == version
        except (Invalid, NotFound):
            return False

    # -- asking -------------------------------------------------------------------------------------------------------

    @property
    def entries(self) -> Mapping[str, Entry]:
        return self._entries

    async def fresh(self, id_: str) -> Entry:
        """As `find`; what it is made of may have changed a moment ago. Raises `NotFound`."""
        found = self.find(id_)
        return found if found.is_fresh else await asyncio.to_thread(self._renewed, found)

    def _renewed(self, entry: Entry) -> Entry:
        with self._reading:
            made, _ = self._fresh(entry.file, entry)
            if made is not None and made.id == entry.id:
                self._entries = {**self._entries, made.id: made}
                return made
        self.refresh()
        return self.find(entry.id)

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
