"""Bytes kept once, by the SHA-256 of their content: artifacts and large outputs.

A blob is written to a temporary file, synced, and renamed into place, so a name that exists holds all of its content.
Calls block (disk); an event loop hands them to a thread.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import Invalid, NotFound, Unavailable

CHUNK_BYTES = 1 << 20
DIGITS = frozenset("0123456789abcdef")


class BlobFolder:
    """Blobs under `folder`, as `<first two digits>/<hash>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, hash_: str) -> Path:
        """Where the blob is or would be. Raises `Invalid` for what is no hash, so no name can leave the folder."""
        if len(hash_) != 64 or not DIGITS.issuperset(hash_):
            raise Invalid(f"{hash_[:80]!r} is not a SHA-256 in small hexadecimal digits")
        return self.folder / hash_[:2] / hash_

    def __contains__(self, hash_: str) -> bool:
        return self.path(hash_).exists()

    def put(self, content: bytes | BinaryIO) -> str:
        """Keep bytes, or a file to its end, and return the hash; the same content is kept once.

        Raises `Unavailable` when the disk is full or cannot be written."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd, part = tempfile.mkstemp(prefix="part-", dir=self.folder)
        except OSError as error:
            raise self._unavailable(error) from error
        try:
            with os.fdopen(fd, "wb") as file:
                digest = hashlib.sha256()
                for chunk in _chunks(content):
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            return self._place(Path(part), digest.hexdigest())
        except OSError as error:
            raise self._unavailable(error) from error
        finally:
            Path(part).unlink(missing_ok=True)

    def _place(self, part: Path, hash_: str) -> str:
        path = self.path(hash_)
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            os.replace(part, path)
            _sync_folder(path.parent)
            _sync_folder(self.folder)
        return hash_

    def get(self, hash_: str) -> bytes:
        """The whole content. Raises `NotFound`, or `Unavailable` when the file no longer matches its hash."""
        with self.open(hash_) as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != hash_:
            raise Unavailable(f"{self.path(hash_)} is damaged", code="damaged", hint="restore it from a backup")
        return content

    def open(self, hash_: str) -> BinaryIO:
        """The content as a file, for streaming. Raises `NotFound`."""
        try:
            return open(self.path(hash_), "rb")
        except FileNotFoundError as error:
            raise NotFound(f"there is no blob {hash_}") from error
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> Unavailable:
        return Unavailable(
            f"the blob folder {self.folder} failed: {error.strerror}",
            code="disk_error",
            hint="free some space, or make the folder readable and writable for this user",
        )


def _chunks(content: bytes | BinaryIO) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    while chunk := content.read(CHUNK_BYTES):
        yield chunk


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
