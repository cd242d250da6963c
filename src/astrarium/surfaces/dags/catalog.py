"""The DAG files of a folder: finding, reading, writing. The file is the truth; what was parsed is kept as long as the file's
time, size and inode stay the same. A broken file is an entry with problems and never in the way of others.

Calls block (disk, parser); the event loop hands the long ones to a thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ...errors import AstrariumError, Invalid, NotFound, Problem, Refused, Unavailable
from ...spec.dag import DagFile, compile_dag
from ...spec.graph import encode_graph, graph_hash
from ...spec.source import Report, read_documents

SUFFIXES = (".yaml", ".yml")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,39}")
"""Names a client may give a file or a DAG: Dagu 1.30 allows 40 characters of these."""
MAX_DEPTH = 8
DEFAULT_SPEC = """# A first step; see the documentation for what a step can do.
steps:
  - name: step1
    command: echo hello
"""

Stamp = tuple[int, int, int]
NewThing = tuple[str, bytes]


class Entry(msgspec.Struct, frozen=True):
    """One file. `file_name` is what clients call it. Without `dag` it does not compile, and `problems` say why. `things` are
    what a run of it refers to; `active_limit` is the file's own `maxActiveRuns`, 0 when it sets none."""

    file_name: str
    path: Path
    stamp: Stamp
    dag: DagFile | None = None
    problems: tuple[Problem, ...] = ()
    graph: str = ""
    things: tuple[NewThing, ...] = ()
    active_limit: int = 0

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
    """The DAG files below `folder`, sub-folders too. `known_kinds` are the step types installed besides the dialect's own."""

    def __init__(self, folder: Path, *, max_bytes: int, known_kinds: frozenset[str] | None = None) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.known_kinds = known_kinds
        self._kept: dict[Path, Entry] = {}
        self._writing = threading.Lock()

    # -- reading ------------------------------------------------------------------------------------------------------

    def compile(self, text: str, name: str, *, file: str = "spec", base_dir: Path | None = None) -> Compiled:
        """Compile a text that need not be a file (problems then show `spec` as its place); its graph names the text it came
        from by hash. Raises `Invalid` with every problem."""
        if len(text.encode("utf-8", "surrogatepass")) > self.max_bytes:
            raise Invalid(f"the DAG is larger than {self.max_bytes:,} bytes", hint="the setting max_yaml_bytes allows more")
        folder = base_dir or self.folder
        dag = compile_dag(text, name=name, file=file, base_dir=str(folder), known_kinds=self.known_kinds)
        source = text.encode("utf-8", "replace")
        graph = msgspec.structs.replace(dag.graph, meta={**dag.graph.meta, "source": hashlib.sha256(source).hexdigest()})
        dag = msgspec.structs.replace(dag, graph=graph)
        data = encode_graph(graph)
        local = [("graph", encode_graph(part)) for part in dag.locals.values()]
        things = (("graph", data), *local, ("text", source))
        return Compiled(dag, graph_hash(data), things, active_limit(text, dag))

    def entries(self) -> list[Entry]:
        """Every file, by name. Raises `Unavailable` when the folder cannot be read."""
        found: list[Entry] = []
        seen: dict[str, Path] = {}
        for path in self._walk(self.folder, 0):
            entry = self.entry(path)
            if entry is None:
                continue
            stem = entry.stem
            if stem in seen:
                relative = path.relative_to(self.folder).as_posix()
                double = Problem(
                    f"another file is called {stem!r} too: {seen[stem].relative_to(self.folder).as_posix()}",
                    file=relative, hint="rename one of them: this one cannot be reached by its name",
                )  # fmt: skip
                entry = msgspec.structs.replace(entry, file_name=relative, problems=(*entry.problems, double))
            seen.setdefault(stem, path)
            found.append(entry)
        self._forget_missing({entry.path for entry in found})
        return sorted(found, key=lambda entry: (entry.file_name.lower(), entry.file_name))

    def at_hand(self, name: str) -> Entry | None:
        """The entry of a file of the folder itself whose parsed form is fresh: costs one `stat`, so it may run in the loop."""
        for path in self._candidates(name):
            kept = self._kept.get(path)
            if kept is not None and stamp_of(path) == kept.stamp:
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
        if stamp is None:
            return None
        kept = self._kept.get(path)
        if kept is None or kept.stamp != stamp:
            kept = self._kept[path] = self._load(path)
        return kept

    def _load(self, path: Path) -> Entry:
        name, file = strip_suffix(path.name), path.name
        stamp: Stamp = (0, 0, 0)
        try:
            with path.open("rb") as opened:
                found = os.fstat(opened.fileno())
                stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
                data = opened.read(self.max_bytes + 1)
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            problem = Problem("this byte is no UTF-8 text", file=file, line=line, hint="save the file as UTF-8")
            return Entry(file, path, stamp, problems=(problem,))
        except OSError as error:
            return Entry(file, path, stamp, problems=(Problem(f"cannot be read: {error.strerror or error}", file=file),))
        try:
            made = self.compile(text, name, file=file, base_dir=path.parent)
        except Invalid as error:
            return Entry(file, path, stamp, problems=error.problems or (Problem(error.message, file=file, hint=error.hint),))
        return Entry(file, path, stamp, made.dag, (), made.graph, made.things, made.active_limit)

    def _walk(self, folder: Path, depth: int) -> Iterator[Path]:
        try:
            with os.scandir(folder) as listed:
                found = sorted(listed, key=lambda one: (one.is_dir(follow_symlinks=False), one.name))
        except FileNotFoundError:
            return
        except OSError as error:
            if depth == 0:
                raise unavailable(folder, error, "read") from error
            return
        for one in found:
            if one.name.startswith("."):
                continue
            if one.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH:
                    yield from self._walk(folder / one.name, depth + 1)
            elif one.name.endswith(SUFFIXES):
                yield folder / one.name

    def _forget_missing(self, present: set[Path]) -> None:
        for path in [path for path in list(self._kept) if path not in present]:
            self._kept.pop(path, None)

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

    def delete(self, entry: Entry) -> None:
        try:
            entry.path.unlink()
        except FileNotFoundError:
            raise NotFound(f"there is no DAG {entry.file_name!r}") from None
        except OSError as error:
            raise unavailable(entry.path, error, "deleted") from error
        self._kept.pop(entry.path, None)


def stamp_of(path: Path) -> Stamp | None:
    """What tells one state of a file from another; None when there is no plain file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def active_limit(text: str, dag: DagFile) -> int:
    """The number of runs the file itself allows at once; 0 = it says nothing, or asks for no limit."""
    if dag.max_active_runs > 1:
        return dag.max_active_runs
    if dag.max_active_runs < 0 or "maxactiveruns" not in text.lower():
        return 0
    documents = read_documents(text, Report(""))
    return 1 if documents and any(key.lower() == "maxactiveruns" for key in documents[0].entries) else 0


def write_file(path: Path, text: str) -> None:
    """Put the whole text in place or nothing: temporary file, fsync, rename, fsync of the folder. Raises `Unavailable`."""
    target = Path(os.path.realpath(path))
    part = ""
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644
        fd, part = tempfile.mkstemp(prefix=".part-", dir=target.parent)
        with os.fdopen(fd, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(part, target)
        part = ""
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise unavailable(path, error, "written") from error
    finally:
        if part:
            Path(part).unlink(missing_ok=True)


def unavailable(path: Path, error: OSError, what: str) -> AstrariumError:
    """What the disk refused, in words that say how to mend it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"{path} cannot be {what}: the disk is full", hint="make room and send the request again")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        told = "it is read-only for this server" if what != "read" else "the server is not allowed to"
        return Unavailable(f"{path} cannot be {what}: {told}", hint="change its permissions, or set dags_dir to another folder")
    return Unavailable(f"{path} cannot be {what}: {error.strerror or error}", hint="see to the disk, then send the request again")
