"""One place of a result: a file, or a folder of files that is there once it is marked as done."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ...errors import Invalid
from .serializer import Serializer
from .store import LOCAL, absent, store_of

DONE = "._DONE"
"""Beside the folder: it is complete."""
PARTS = "._SUB_KEYS"
"""Beside the folder: the names of its files, one a line."""


class Target:
    """A file at a URI. What is written is seen whole or not at all."""

    def __init__(self, uri: str, serializer: Serializer | None = None) -> None:
        self._store, self._path = store_of(uri)
        self.uri = self._path if self._store is LOCAL else uri
        self._serializer = serializer

    def __repr__(self) -> str:
        return f"Target({self.uri!r})"

    def exists(self) -> bool:
        return self._store.exists(self._path)

    def read(self) -> bytes:
        """The bytes. Raises `NotFound`."""
        return self._store.read(self._path)

    def write(self, data: bytes) -> None:
        self._store.write(self._path, data)

    def delete(self) -> None:
        """Take the file away; one that is not there is no error."""
        self._store.delete(self._path)

    @contextmanager
    def open(self, mode: str = "r") -> Iterator[IO[Any]]:
        """A file object: `r`, `rb`, `w`, `wb`. What is written appears when the block ends well, else nothing does."""
        if mode not in ("r", "rb", "w", "wb"):
            raise Invalid(
                f"a target is opened with r, rb, w or wb, not {mode!r}", hint="appending is not possible: a result is whole"
            )
        text = None if "b" in mode else "utf-8"
        with self.local(mode[0]) as path, path.open(mode, encoding=text, newline=None if text is None else "") as file:
            yield file

    @contextmanager
    def local(self, mode: str = "r") -> Iterator[Path]:
        """A path of this machine, for libraries that want one: `r` to read the file there, `w` to write it. What is written appears
        when the block ends well."""
        if self._store is LOCAL and mode == "r":
            if not self.exists():
                raise absent(self.uri)
            yield Path(self._path)
        elif self._store is LOCAL:
            part = LOCAL.part(self._path)
            try:
                yield part
                LOCAL.send(part, self._path)
            finally:
                part.unlink(missing_ok=True)
        else:
            with tempfile.TemporaryDirectory(prefix="astrarium-") as folder:
                path = Path(folder) / (Path(self._path).name or "file")
                if mode == "r":
                    self._store.fetch(self._path, path)
                yield path
                if mode == "w":
                    self._store.send(path, self._path)

    def save(self, value: Any) -> None:
        """Write a value by the serializer of its task."""
        self._chosen().dump(value, self)

    def load(self) -> Any:
        """Read the value. Raises `NotFound`."""
        return self._chosen().load(self)

    def _chosen(self) -> Serializer:
        if self._serializer is None:
            raise Invalid(f"{self.uri} is a plain file: nothing says how a value becomes bytes", hint="use read() and write()")
        return self._serializer


class DirectoryTarget:
    """A folder of files: `with (target / "part.csv").open("w")`, and `target.mark_done()` at the end. It exists once it is marked."""

    def __init__(self, uri: str, serializer: Serializer | None = None) -> None:
        self._root = Target(uri.rstrip("/")).uri
        self.uri = self._root + "/"
        self._serializer = serializer
        self._names: set[str] = set()

    def __repr__(self) -> str:
        return f"DirectoryTarget({self.uri!r})"

    def __truediv__(self, name: str) -> Target:
        """A file of the folder."""
        if name.startswith("/") or ".." in name.split("/"):
            raise Invalid(
                f"{name!r} would lie outside of the folder {self.uri}", hint="name a file in it, as part.csv or a/b.csv"
            )
        self._names.add(name)
        return Target(self.uri + name)

    def names(self) -> list[str]:
        """The files that were written, once it is done."""
        return Target(self._root + PARTS).read().decode().split("\n")

    def exists(self) -> bool:
        return Target(self._root + DONE).exists()

    def mark_done(self) -> None:
        """Say that all files are there."""
        Target(self._root + PARTS).write("\n".join(sorted(self._names)).encode())
        Target(self._root + DONE).write(b"")

    def save(self, value: Any) -> None:
        """Write a value by the serializer of its task, and mark the folder."""
        self._chosen().dump(value, self)
        if not self.exists():
            self.mark_done()

    def load(self) -> Any:
        if not self.exists():
            raise absent(self.uri)
        return self._chosen().load(self)

    def _chosen(self) -> Serializer:
        if self._serializer is None:
            raise Invalid(f"{self.uri} is a plain folder: nothing says how a value becomes files", hint="use target / name")
        return self._serializer


def target_of(uri: str, serializer: Serializer) -> Target | DirectoryTarget:
    """The target of a task: a folder when its serializer writes several files."""
    return DirectoryTarget(uri, serializer) if getattr(serializer, "of_directory", False) else Target(uri, serializer)
