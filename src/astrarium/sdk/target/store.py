"""Places that keep files, behind six methods: the local disk, this process's memory, object stores."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ...errors import Invalid, NotFound, Unavailable
from ...lazy import library

if TYPE_CHECKING:
    import obstore
    import obstore.exceptions as obstore_exceptions
    import obstore.store as obstore_store
else:
    obstore = library("obstore")
    obstore_exceptions = library("obstore.exceptions")
    obstore_store = library("obstore.store")

MEMORY = "in-memory://"
CLOUD = ("s3://", "s3a://", "gs://", "az://", "azure://", "abfs://", "abfss://", "adl://")
SCHEMES = f"a local path, file://, {MEMORY}, s3://, gs://, az://"


class Store(Protocol):
    """What a target needs of the place it is in. A write is seen whole or not at all. All methods may be called from any thread."""

    def exists(self, path: str) -> bool: ...

    def read(self, path: str) -> bytes:
        """The file's bytes. Raises `NotFound`."""
        ...

    def write(self, path: str, data: bytes) -> None: ...

    def fetch(self, path: str, to: Path) -> None:
        """Copy the file here, for readers that want a path. Raises `NotFound`."""
        ...

    def send(self, source: Path, path: str) -> None:
        """Copy a file of this machine there, in parts when it is large. `source` may be moved away."""
        ...

    def delete(self, path: str) -> None:
        """Take the file away; one that is not there is no error."""
        ...


class LocalStore:
    """Files of this machine. A write goes to a file beside the target, is flushed to the disk, and takes the target's name then: who
    dies half way leaves nothing under that name."""

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def read(self, path: str) -> bytes:
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            raise absent(path) from None

    def write(self, path: str, data: bytes) -> None:
        part = self.part(path)
        try:
            part.write_bytes(data)
            self._settle(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def fetch(self, path: str, to: Path) -> None:
        try:
            shutil.copyfile(path, to)
        except FileNotFoundError:
            raise absent(path) from None

    def send(self, source: Path, path: str) -> None:
        part = self.part(path)
        try:
            shutil.move(source, part)
            self._settle(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def delete(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    def part(self, path: str) -> Path:
        """A new file beside `path`, to be renamed to it."""
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{Path(path).name[:60]}.", suffix=".part", dir=folder)
        with suppress(PermissionError):
            os.fchmod(handle, 0o666 & ~_umask())
        os.close(handle)
        return Path(name)

    @staticmethod
    def _settle(part: Path, path: str) -> None:
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
        folder = os.open(Path(path).parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class MemoryStore:
    """Files in this process, gone with it: for tests, and for notebooks that keep nothing."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def exists(self, path: str) -> bool:
        return path in self._files

    def read(self, path: str) -> bytes:
        try:
            return self._files[path]
        except KeyError:
            raise absent(path) from None

    def write(self, path: str, data: bytes) -> None:
        with self._lock:
            self._files[path] = data

    def fetch(self, path: str, to: Path) -> None:
        to.write_bytes(self.read(path))

    def send(self, source: Path, path: str) -> None:
        self.write(path, source.read_bytes())

    def delete(self, path: str) -> None:
        with self._lock:
            self._files.pop(path, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._files.clear()


class CloudStore:
    """S3, Google Cloud Storage, Azure through obstore, which reads the usual variables for credentials (`AWS_ACCESS_KEY_ID`,
    `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME` …). Uploads appear when they are whole."""

    def __init__(self, store: Any, name: str) -> None:
        self._store = store
        self._name = name

    def exists(self, path: str) -> bool:
        try:
            with self._asked(path):
                obstore.head(self._store, path)
        except NotFound:
            return False
        return True

    def read(self, path: str) -> bytes:
        with self._asked(path):
            return bytes(obstore.get(self._store, path).bytes())

    def write(self, path: str, data: bytes) -> None:
        with self._asked(path):
            obstore.put(self._store, path, data)

    def fetch(self, path: str, to: Path) -> None:
        with self._asked(path), to.open("wb") as file:
            for chunk in obstore.get(self._store, path).stream(min_chunk_size=8 * 1024 * 1024):
                file.write(chunk)

    def send(self, source: Path, path: str) -> None:
        with self._asked(path):
            obstore.put(self._store, path, source)

    def delete(self, path: str) -> None:
        with suppress(NotFound), self._asked(path):
            obstore.delete(self._store, path)

    @contextmanager
    def _asked(self, path: str) -> Iterator[None]:
        """What the store refuses, in our words. Raises `NotFound`, `Unavailable`."""
        try:
            yield
        except FileNotFoundError:
            raise absent(f"{self._name}/{path}") from None
        except obstore_exceptions.BaseError as error:
            said = str(error).partition("\n")[0]
            raise Unavailable(
                f"{self._name}/{path} cannot be reached: {said}", hint="is the store up, and are its credentials right?"
            ) from error


LOCAL = LocalStore()
IN_MEMORY = MemoryStore()
"""The one memory of this process."""


def store_of(uri: str) -> tuple[Store, str]:
    """The store of a URI, and the path in it. Raises `Invalid` for a scheme nobody keeps files under."""
    if uri.startswith(MEMORY):
        return IN_MEMORY, uri.removeprefix(MEMORY)
    if uri.startswith("file://"):
        return LOCAL, urlsplit(uri).path
    if "://" not in uri:
        return LOCAL, str(Path(uri).expanduser().absolute())
    if not uri.startswith(CLOUD):
        raise Invalid(f"no store for {uri!r}", hint=f"a target root is {SCHEMES}")
    place = urlsplit(uri)
    return _cloud(f"{place.scheme}://{place.netloc}"), place.path.lstrip("/")


@functools.cache
def _cloud(name: str) -> CloudStore:
    try:
        return CloudStore(obstore_store.from_url(name), name)
    except ImportError:
        raise Invalid(
            f"{name} is an object store: obstore is not installed", hint="pip install 'astrarium[object-store]'"
        ) from None
    except obstore_exceptions.BaseError as error:
        said = str(error).partition("\n")[0]
        raise Invalid(
            f"{name} cannot be reached: {said}", hint="the usual variables of the cloud say where and as whom"
        ) from error


def absent(where: str) -> NotFound:
    return NotFound(f"there is nothing at {where}", hint="the task is not made yet, or its target was deleted")


@functools.cache
def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
