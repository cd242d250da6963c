"""The DAG files of a folder: finding, reading, writing. The file is the truth; what was parsed is kept as long as the file's
time, size and inode stay the same. A broken file is an entry with problems and never in the way of others.

Calls block (disk, parser); the event loop hands the long ones to a thread.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ...config import Settings
from ...errors import Invalid, NotFound, Problem, Refused
from ...lazy import plugins
from ...runs.ports import SECRETS_GROUP
from ...spec.dag import DagFile, Inherited, Installed, compile_dag, read_inherited
from ...spec.graph import encode_graph, graph_hash
from .work.file import Stamp, has_program, no_text, stamp_of, sync_folder, unavailable, write_file
from .work.trace.check import check_otel

SUFFIXES = (".yaml", ".yml")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,39}")
"""Names a client may give a file or a DAG: Dagu 1.30 allows 40 characters of these."""
MAX_DEPTH = 8
DEFAULT_SPEC = """# A first step; see the documentation for what a step can do.
steps:
  - name: step1
    command: echo hello
"""

NewThing = tuple[str, bytes]


class Entry(msgspec.Struct, frozen=True):
    """One file. `file_name` is what clients call it. Without `dag` it does not compile, and `problems` say why. `things` are
    what a run of it refers to; `active_limit` is the file's own `maxActiveRuns`, 0 when it sets none. `inherited` is the state of
    the file with what every DAG has in common."""

    file_name: str
    path: Path
    stamp: Stamp
    dag: DagFile | None = None
    problems: tuple[Problem, ...] = ()
    graph: str = ""
    things: tuple[NewThing, ...] = ()
    active_limit: int = 0
    inherited: Stamp | None = None

    @property
    def stem(self) -> str:
        return strip_suffix(self.path.name)

    @property
    def name(self) -> str:
        """The DAG's name, as far as it is known."""
        return self.dag.name if self.dag is not None else self.stem

    @property
    def errors(self) -> list[str]:
        return [str(problem) for problem in self.problems]


class Compiled(msgspec.Struct, frozen=True):
    """A DAG text ready to run."""

    dag: DagFile
    graph: str
    things: tuple[NewThing, ...]
    active_limit: int


def strip_suffix(name: str) -> str:
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def check_name(name: str, what: str = "name") -> str:
    """The name a client gives a new file or run. Raises `Invalid`."""
    if not NAME.fullmatch(name) or not strip_suffix(name):
        problem = Problem("must be 1 to 40 letters, digits, `_`, `-` or `.`, not beginning with `-` or `.`", path=what)
        raise Invalid(f"{name[:80]!r} cannot be a {what}: {problem.message}", [problem])
    return name


class Catalog:
    """The DAG files below `folder`, sub-folders too. `known_kinds` are the step types installed besides the dialect's own,
    `known_secrets` the providers of secrets. `inherited` is the file with what every DAG has in common; it need not exist."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        known_kinds: frozenset[str] | None = None,
        known_secrets: frozenset[str] | None = None,
        inherited: Path | None = None,
    ) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.known_kinds = known_kinds
        self.known_secrets = known_secrets
        self.inherited = Path(os.path.abspath(inherited)) if inherited is not None else None
        self._shared: tuple[Stamp | None, Inherited | None] = (None, None)
        self._called: dict[Path, tuple[Entry, Compiled]] = {}
        self._kept: dict[str, Entry] = {}
        self._writing = threading.Lock()

    # -- reading ------------------------------------------------------------------------------------------------------

    def compile(
        self, text: str, name: str, *, file: str = "spec", base_dir: Path | None = None, called: bool = False, strict: bool = False
    ) -> Compiled:
        """Compile a text that need not be a file (problems then show `spec` as its place); its graph names the text it came
        from by hash. `called`: as a sub-DAG, without the handlers all DAGs have in common. `strict`: complain about programs its
        parameters need that are not there. Raises `Invalid` with every problem."""
        if len(text.encode("utf-8", "surrogatepass")) > self.max_bytes:
            raise Invalid(f"the DAG is larger than {self.max_bytes:,} bytes", hint="the setting max_yaml_bytes allows more")
        folder = base_dir or self.folder
        installed = Installed(self.known_kinds, self.known_secrets, has_program if strict and not (folder / ".env").exists() else None)
        dag = compile_dag(
            text, name=name, file=file, base_dir=str(folder), installed=installed, inherited=self.shared()[1], called=called
        )
        check_otel(dag.graph)
        source = text.encode("utf-8", "replace")
        graph = msgspec.structs.replace(dag.graph, meta={**dag.graph.meta, "source": hashlib.sha256(source).hexdigest()})
        dag = msgspec.structs.replace(dag, graph=graph)
        data = encode_graph(graph)
        local = [("graph", encode_graph(part)) for part in dag.locals.values()]
        things = (("graph", data), *local, ("text", source))
        return Compiled(dag, graph_hash(data), things, dag.active_limit)

    def shared(self) -> tuple[Stamp | None, Inherited | None]:
        """(state of the file with what every DAG has in common, what it says); read again when it changed, None without one."""
        stamp = self._inherited_stamp()
        if stamp is None or self.inherited is None:
            return None, None
        if self._shared[0] != stamp:
            self._shared = (stamp, self._load_inherited(self.inherited))
        return stamp, self._shared[1]

    def _inherited_stamp(self) -> Stamp | None:
        return stamp_of(self.inherited) if self.inherited is not None else None

    def _load_inherited(self, path: Path) -> Inherited:
        file = str(path)
        try:
            with path.open("rb") as opened:
                data = opened.read(self.max_bytes + 1)
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return Inherited((no_text(file, data, error),))
        except OSError as error:
            return Inherited((Problem(f"cannot be read: {error.strerror or error}", file=file),))
        if len(data) > self.max_bytes:
            return Inherited((Problem(f"is larger than {self.max_bytes:,} bytes", file=file),))
        return read_inherited(text, file, Installed(self.known_kinds, self.known_secrets))

    def called(self, entry: Entry) -> Compiled:
        """What a step that calls this DAG starts: the DAG without the handlers all DAGs have in common. Raises `Invalid`."""
        if entry.dag is None:
            raise Invalid(f"{entry.file_name} does not load", entry.problems)
        shared = self.shared()[1]
        if shared is None or not shared.has_handlers:
            return Compiled(entry.dag, entry.graph, entry.things, entry.active_limit)
        known = self._called.get(entry.path)
        if known is None or known[0] is not entry:
            text = next(data for kind, data in entry.things if kind == "text").decode()
            made = self.compile(text, entry.stem, file=entry.path.name, base_dir=entry.path.parent, called=True)
            known = self._called[entry.path] = (entry, made)
        return known[1]

    def entries(self) -> list[Entry]:
        """Every file, by name. Raises `Unavailable` when the folder cannot be read."""
        found: list[Entry] = []
        seen: dict[str, Path] = {}
        present: set[str] = set()
        inherited = self._inherited_stamp()
        for one in self._walk(str(self.folder), 0):
            stamp = stamp_of(one)
            if stamp is None:
                continue
            present.add(one.path)
            entry = self._kept.get(one.path)
            if entry is None or entry.stamp != stamp or entry.inherited != inherited:
                entry = self._kept[one.path] = self._load(Path(one.path))
            stem, path = strip_suffix(one.name), entry.path
            if stem in seen:
                relative = path.relative_to(self.folder).as_posix()
                double = Problem(
                    f"another file is called {stem!r} too: {seen[stem].relative_to(self.folder).as_posix()}",
                    file=relative, hint="rename one of them: this one cannot be reached by its name",
                )  # fmt: skip
                entry = msgspec.structs.replace(entry, file_name=relative, problems=(*entry.problems, double))
            seen.setdefault(stem, path)
            found.append(entry)
        self._forget_missing(present)
        return sorted(found, key=lambda entry: (entry.file_name.lower(), entry.file_name))

    def at_hand(self, name: str) -> Entry | None:
        """The entry of a file of the folder itself whose parsed form is fresh: costs one `stat`, so it may run in the loop."""
        for path in self._candidates(name):
            kept = self._kept.get(str(path))
            if kept is not None and stamp_of(path) == kept.stamp and self._inherited_stamp() == kept.inherited:
                return kept
        return None

    def _candidates(self, name: str) -> list[Path]:
        if not name or "/" in name or "\0" in name or name.startswith("."):
            return []
        names = (name,) if name.endswith(SUFFIXES) else (name + SUFFIXES[0], name + SUFFIXES[1])
        return [self.folder / each for each in names]

    def find(self, name: str) -> Entry:
        """The entry a client means: a file name with or without extension, a path below the folder, or a DAG's own name.
        Raises `NotFound`."""
        for path in self._candidates(name):
            entry = self.entry(path)
            if entry is not None:
                return entry
        wanted = strip_suffix(name)
        entries = self.entries()
        for entry in entries:
            relative = entry.path.relative_to(self.folder).as_posix()
            if name in (entry.path.name, relative) or wanted in (entry.stem, strip_suffix(relative)):
                return entry
        for entry in entries:
            if entry.dag is not None and entry.dag.name == name:
                return entry
        raise NotFound(f"there is no DAG {name[:120]!r}", hint=f"DAG files lie in {self.folder}")

    def text(self, entry: Entry) -> str:
        """The file as it is, comments included; bytes that are no UTF-8 are replaced."""
        try:
            return entry.path.read_bytes()[: self.max_bytes].decode("utf-8", "replace")
        except FileNotFoundError:
            raise NotFound(f"{entry.file_name} was just removed") from None
        except OSError as error:
            raise unavailable(entry.path, error, "read") from error

    def entry(self, path: Path) -> Entry | None:
        """The entry of one file, parsed again only when it changed; None when there is no such file."""
        stamp = stamp_of(path)
        if stamp is None or self._is_inherited(path.name, str(path)):
            return None
        kept = self._kept.get(str(path))
        if kept is None or kept.stamp != stamp or kept.inherited != self._inherited_stamp():
            kept = self._kept[str(path)] = self._load(path)
        return kept

    def _is_inherited(self, name: str, path: str) -> bool:
        return self.inherited is not None and name == self.inherited.name and Path(os.path.abspath(path)) == self.inherited

    def _load(self, path: Path) -> Entry:
        return self._read(path, self._inherited_stamp())

    def _read(self, path: Path, inherited: Stamp | None) -> Entry:
        name, file = strip_suffix(path.name), path.name
        stamp: Stamp = (0, 0, 0)
        try:
            with path.open("rb") as opened:
                found = os.fstat(opened.fileno())
                stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
                data = opened.read(self.max_bytes + 1)
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return Entry(file, path, stamp, problems=(no_text(file, data, error),), inherited=inherited)
        except OSError as error:
            problem = Problem(f"cannot be read: {error.strerror or error}", file=file)
            return Entry(file, path, stamp, problems=(problem,), inherited=inherited)
        try:
            made = self.compile(text, name, file=file, base_dir=path.parent)
        except Invalid as error:
            problems = error.problems or (Problem(error.message, file=file, hint=error.hint),)
            return Entry(file, path, stamp, problems=problems, inherited=inherited)
        return Entry(file, path, stamp, made.dag, (), made.graph, made.things, made.active_limit, inherited)

    def _walk(self, folder: str, depth: int) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as listed:
                found = sorted(listed, key=lambda one: (one.is_dir(follow_symlinks=False), one.name))
        except FileNotFoundError:
            return
        except OSError as error:
            if depth == 0:
                raise unavailable(Path(folder), error, "read") from error
            return
        for one in found:
            if one.name.startswith("."):
                continue
            if one.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH:
                    yield from self._walk(one.path, depth + 1)
            elif one.name.endswith(SUFFIXES) and not self._is_inherited(one.name, one.path):
                yield one

    def count(self) -> int:
        """How many files there are. Raises `Unavailable` when the folder cannot be read."""
        return count_files(self.folder, 0)

    @property
    def kept(self) -> int:
        """How many files are kept parsed."""
        return len(self._kept)

    def _forget_missing(self, present: set[str]) -> None:
        for path in [path for path in list(self._kept) if path not in present]:
            self._kept.pop(path, None)
            self._called.pop(Path(path), None)

    # -- writing ------------------------------------------------------------------------------------------------------

    def create(self, name: str, text: str | None) -> Entry:
        """A new file. Raises `Invalid` for a bad name or text, `Refused` when the name is taken."""
        check_name(name)
        stem = strip_suffix(name)
        path = self.folder / (name if name.endswith(SUFFIXES) else name + SUFFIXES[0])
        spec = DEFAULT_SPEC if text is None else text
        self.compile(spec, stem, file=path.name)
        with self._writing:
            if any((self.folder / (stem + suffix)).exists() for suffix in SUFFIXES):
                told = f"a DAG file {stem!r} exists already"
                raise Refused(told, code="already_exists", hint="choose another name, or change its spec")
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unavailable(self.folder, error, "written") from error
            write_file(path, spec)
        made = self.entry(path)
        if made is None:
            raise NotFound(f"{path.name} was removed while it was made")
        return made

    def replace(self, entry: Entry, text: str) -> None:
        """Change a file. Raises `Invalid` (and changes nothing) when the text does not compile."""
        self.compile(text, entry.stem, file=entry.path.name, base_dir=entry.path.parent)
        with self._writing:
            write_file(entry.path, text)

    def move(self, name: str, new_name: str) -> None:
        """Rename a file below the folder; one that was moved already is left so. Raises `NotFound`, `Refused` when the new name is
        taken, `Unavailable`."""
        path, target = self.folder / name, self.folder / new_name
        with self._writing:
            if not path.exists():
                if target.exists():
                    return
                raise NotFound(f"there is no DAG file {name!r} any more")
            if target.exists():
                raise Refused(f"a DAG file {new_name!r} exists already", code="already_exists", hint="choose another name")
            try:
                path.rename(target)
                sync_folder(target.parent)
            except OSError as error:
                raise unavailable(path, error, "renamed") from error
        self._kept.pop(str(path), None)

    def delete(self, entry: Entry) -> None:
        try:
            entry.path.unlink()
        except FileNotFoundError:
            raise NotFound(f"there is no DAG {entry.file_name!r}") from None
        except OSError as error:
            raise unavailable(entry.path, error, "deleted") from error
        self._kept.pop(str(entry.path), None)


def count_files(folder: Path | str, depth: int) -> int:
    """The DAG files below a folder, without looking at any of them."""
    found = 0
    try:
        with os.scandir(folder) as listed:
            for one in listed:
                if one.name.startswith("."):
                    continue
                if one.is_dir(follow_symlinks=False):
                    found += count_files(one.path, depth + 1) if depth < MAX_DEPTH else 0
                elif one.name.endswith(SUFFIXES):
                    found += 1
    except FileNotFoundError:
        return 0
    except OSError as error:
        if depth == 0:
            raise unavailable(Path(folder), error, "read") from error
    return found


def open_catalog(settings: Settings, kinds: frozenset[str]) -> Catalog:
    """The catalogue of the DAG folder the settings name; `kinds` are the installed step types."""
    secrets = frozenset(entry.name for entry in plugins(SECRETS_GROUP))
    return Catalog(
        settings.dags_dir, max_bytes=settings.max_yaml_bytes, known_kinds=kinds, known_secrets=secrets, inherited=settings.base_dag
    )
