"""Python code beside a graph's file: found by the folder of the graph, never by the order of `sys.path`, and found anew when it changed.

The modules of a folder, taken as they are at one time, are an edition. Each edition has module objects of its own, so folders with
modules of one name do not clash, and what was taken earlier goes on as it was. Code is known by its fingerprint: a hash of the source of
the module that is named and of all modules of the folder that it imports. What does not lie in the folder is what is installed; it is
imported as everything is, and stays until the process ends.
"""

from __future__ import annotations

import builtins
import hashlib
import inspect
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ...errors import Refused

MOST_EDITIONS = 20
"""Of one folder, kept for runs that began with them."""
CHANGED = "graph-hash-mismatch"
Stamp = tuple[int, int, int]
_numbers = count(1)
_loading = threading.RLock()


class Nameless(AttributeError):
    """A module has no such name."""


class Found(NamedTuple):
    """What a path names. `files`: those it was made of, in the folder `folder` (empty = it is installed)."""

    target: Any
    fingerprint: str
    files: tuple[Path, ...] = ()
    folder: str = ""


class Edition:
    """The modules of one folder, as they were when the first of them was imported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prefix = f"astrarium_code_{next(_numbers)}"
        self._modules: dict[str, ModuleType] = {}
        self._files: dict[str, tuple[Path, Stamp, str]] = {}
        """Module → its file, how that was, and the hash of its source."""
        self._imports: dict[str, set[str]] = {}
        self._open: list[str] = []
        self.known: dict[tuple[str, str], Any] = {}
        """What was named, by path and fingerprint."""
        root = ModuleType(self._prefix)
        root.__path__ = [str(folder)]
        sys.modules[self._prefix] = root

    def is_stale(self) -> bool:
        return any(stamp_of(path) != stamp for path, stamp, _ in self._files.values())

    def has(self, name: str) -> bool:
        """Whether the folder has such a module."""
        return name in self._modules or self._place(name) is not None

    def find(self, path: str) -> Found:
        """Raises whatever the module raises, `Nameless`."""
        name, _, inner = path.partition(":")
        target = part_of(self.load(name), name, inner)
        used = sorted(self._used(name))
        told = "\n".join(f"{one} {self._files[one][2]}" for one in used)
        return Found(
            target, hashlib.sha256(told.encode()).hexdigest(), tuple(self._files[one][0] for one in used), str(self.folder)
        )

    def load(self, name: str) -> ModuleType:
        if self._open:
            self._imports.setdefault(self._open[-1], set()).add(name)
        known = self._modules.get(name)
        if known is not None:
            return known
        parent, _, last = name.rpartition(".")
        above = self.load(parent) if parent else None
        file = self._place(name)
        if file is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = self._made(name, file)
        if above is not None:
            setattr(above, last, module)
        return module

    def _place(self, name: str) -> Path | None:
        """The file of a module, or the folder of a package without one."""
        stem = self.folder.joinpath(*name.split("."))
        for file in (stem / "__init__.py", stem.with_name(stem.name + ".py")):
            if file.is_file():
                return file
        return stem if stem.is_dir() and any(stem.glob("*.py")) else None

    def _made(self, name: str, file: Path) -> ModuleType:
        full = f"{self._prefix}.{name}"
        module = ModuleType(full)
        is_package = file.is_dir() or file.name == "__init__.py"
        module.__spec__ = ModuleSpec(full, None, origin=str(file), is_package=is_package)
        module.__package__ = full if is_package else full.rpartition(".")[0]
        if is_package:
            module.__path__ = [str(file if file.is_dir() else file.parent)]
        self._modules[name] = sys.modules[full] = module
        if file.is_dir():
            return module
        module.__file__ = str(file)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        self._open.append(name)
        try:
            stamp, source = stamp_of(file), file.read_bytes()
            self._files[name] = file, stamp or (0, 0, 0), hashlib.sha256(source).hexdigest()
            exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)
        except BaseException:
            del self._modules[name], sys.modules[full]
            raise
        finally:
            self._open.pop()
        return module

    def _import(
        self, name: str, globals: Mapping[str, Any] | None = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
    ) -> ModuleType:  # fmt: skip
        """What `import` does in modules of this folder: those beside them come first."""
        if level:
            package = str((globals or {}).get("__package__", "")).removeprefix(self._prefix).lstrip(".")
            parts = package.split(".") if package else []
            base = ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])
        else:
            base = name
        with _loading:
            if not level and not self.has(name.partition(".")[0]):
                return builtins.__import__(name, globals, locals, fromlist or (), level)
            module = self.load(base) if base else sys.modules[self._prefix]
            for one in fromlist or ():
                inner = f"{base}.{one}".lstrip(".")
                if not hasattr(module, one) and self._place(inner) is not None:
                    setattr(module, one, self.load(inner))
            return module if fromlist else self.load(base.partition(".")[0])

    def _used(self, name: str) -> set[str]:
        """A module and all of the folder's that it imports, those with a source."""
        found, ahead = set[str](), [name]
        while ahead:
            one = ahead.pop()
            if one not in found:
                found.add(one)
                ahead += [*self._imports.get(one, ()), *([one.rpartition(".")[0]] if "." in one else [])]
        return {one for one in found if one in self._files}

    def forget(self) -> None:
        for name in [one for one in sys.modules if one.partition(".")[0] == self._prefix]:
            del sys.modules[name]


class Codes:
    """All code of all folders that this process has met."""

    def __init__(self) -> None:
        self._editions: dict[str, list[Edition]] = {}

    def find(self, path: str, *folders: str) -> Found:
        """What `module:Name` names now, in the first of the folders that has such a module. Raises whatever the module raises,
        `Nameless`."""
        with _loading:
            for folder in filter(None, folders):
                edition = self._present(folder)
                if edition.has(path.partition(":")[0]):
                    found = edition.find(path)
                    edition.known[path, found.fingerprint] = found.target
                    return found
        return installed(path)

    def given(self, path: str, folder: str, fingerprint: str) -> Any:
        """What it named when it had this fingerprint (empty = now). Raises `Refused` (`graph-hash-mismatch`) when that is gone."""
        for edition in reversed(self._editions.get(folder, ())):
            if (path, fingerprint) in edition.known:
                return edition.known[path, fingerprint]
        found = self.find(path, folder)
        if fingerprint and found.fingerprint != fingerprint:
            told = f"the source of `{path}` has changed since the run began, and what it was is not kept"
            raise Refused(told, code=CHANGED, hint="start a new run, or bring the source back and resume this one")
        return found.target

    def replace(self, path: str, folder: str, fingerprint: str) -> None:
        """Runs that began with this fingerprint go on with what the path names now."""
        target = self.find(path, folder).target
        if folder:
            self._editions[folder][-1].known[path, fingerprint] = target

    def _present(self, folder: str) -> Edition:
        editions = self._editions.setdefault(folder, [])
        if not editions or editions[-1].is_stale():
            editions.append(Edition(Path(folder)))
        if len(editions) > MOST_EDITIONS:
            editions.pop(0).forget()
        return editions[-1]


def installed(path: str) -> Found:
    """What is named among all that is installed; its fingerprint is of its own source, and that of what it is derived from beside it."""
    name, _, inner = path.partition(":")
    target = part_of(import_module(name), name, inner)
    digest = hashlib.sha256()
    kin: Iterable[Any] = inspect.getmro(target) if isinstance(target, type) else (target,)
    for one in kin:
        if one is not target and one.__module__ != target.__module__:
            continue
        try:
            digest.update(inspect.getsource(one).encode())
        except (OSError, TypeError):
            digest.update(f"{getattr(one, '__module__', '')}:{getattr(one, '__qualname__', inner)}".encode())
    return Found(target, digest.hexdigest())


def part_of(module: ModuleType, name: str, inner: str) -> Any:
    target: Any = module
    for part in inner.split("."):
        target = getattr(target, part, None)
        if target is None:
            raise Nameless(f"the module `{name}` has no `{inner}`: it is {getattr(module, '__file__', name)}")
    return target


def stamp_of(path: Path) -> Stamp | None:
    """How a file was, so far as tells whether it has changed; None = it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


CODES = Codes()
