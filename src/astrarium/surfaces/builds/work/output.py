"""A look at the output of a task, where the server may and can read it.

Two must agree: the operator, who lists places (`output_roots`), and the environment, whose target roots say where its outputs lie. An
address that leads out of either, by `..` or by a link, is refused. What is opened is the path that was checked, folder by folder, and
no link is followed on the way: one that is put there meanwhile leads nowhere.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from ....errors import Forbidden, NotFound, Refused
from ....lazy import library

if TYPE_CHECKING:
    import obstore
    import obstore.store
else:
    obstore = library("obstore")

STORES = ("s3", "gs", "az")
SETTING = "output_roots"
RETRIES: Any = {"max_retries": 1, "retry_timeout": timedelta(seconds=5)}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Beginning(NamedTuple):
    """The first bytes of an output that has `size` in all."""

    data: bytes
    size: int


class Outputs:
    """The outputs a server may read: those in `places` (the setting), and never what lies in `own`, its data folder."""

    def __init__(self, places: Sequence[str], own: Path) -> None:
        self._places = places
        self._own = own

    async def read(self, uri: str, roots: Sequence[str], max_bytes: int) -> Beginning:
        """The first `max_bytes` of an output, by its address, in an environment with these target roots. Raises `Forbidden` when it
        may not be read, `NotFound` when it is not there, `Refused` when it cannot be read."""
        if not self._places:
            told = f"this server shows no outputs: its setting {SETTING} is empty"
            raise Forbidden(told, hint="its operator lists folders or s3://BUCKET/PREFIX there")
        scheme, path = split_address(uri)
        if not any(_within(uri, root) for root in roots):
            raise Forbidden("the output lies in no target root of its environment")
        places = [place for place in self._places if split_address(place)[0] == scheme]
        if scheme:
            if not any(_within(uri, place) for place in places):
                raise _not_allowed()
            return await _read_object(uri, path, max_bytes)
        near = [path for root in roots if _within(uri, root) for _, path in [split_address(root)]]
        return await asyncio.to_thread(self._read_file, os.path.expanduser(path), places, near, max_bytes)

    def _read_file(self, path: str, places: Sequence[str], roots: Sequence[str], max_bytes: int) -> Beginning:
        with _failing():
            real = Path(os.path.realpath(path))
            allowed = [Path(os.path.realpath(place)) for place in places]
            rooted = [Path(os.path.realpath(os.path.expanduser(root))) for root in roots]
            own = Path(os.path.realpath(self._own))
        if not any(real.is_relative_to(place) for place in allowed) or real.is_relative_to(own):
            raise _not_allowed()
        if not any(real.is_relative_to(root) for root in rooted):
            raise Forbidden("the output leads out of the target roots of its environment")
        with _failing(), _opened(real) as fd:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no file"
                raise Refused(f"the output is {kind}", code="output_unreadable", hint="only files are shown")
            with open(fd, "rb", closefd=False) as file:
                return Beginning(file.read(max_bytes), found.st_size)


def split_address(uri: str) -> tuple[str, str]:
    """Kind of store (empty = a file of this machine) and path, or name and key, of an address. Raises `Forbidden` for what leads to
    neither, or not straight there."""
    scheme, colon, rest = uri.partition("://")
    if not colon:
        scheme, path = "", uri
    elif scheme.lower() == "file":
        parts = urlsplit(uri)
        scheme, path = "", unquote(parts.path) if parts.netloc in ("", "localhost") and not parts.query else ""
    else:
        scheme, path = scheme.lower(), rest
    if scheme not in ("", *STORES):
        raise Forbidden(f"outputs at {scheme[:20]}:// cannot be shown", hint="files, s3://, gs:// and az:// can")
    straight = path.split("/")
    if "\0" in path or ".." in straight or "." in straight or not (scheme or path.startswith(("/", "~/"))):
        raise Forbidden("the output's address does not lead straight to a place", hint="an absolute path without `..` does")
    return scheme, path


def _within(uri: str, root: str) -> bool:
    """Whether an address lies below another, by whole names."""
    try:
        (kind, path), (root_kind, root_path) = split_address(uri), split_address(root)
    except Forbidden:
        return False
    expanded = path if kind else os.path.expanduser(path)
    wanted = root_path if root_kind else os.path.expanduser(root_path)
    return kind == root_kind and _names(expanded)[: len(_names(wanted))] == _names(wanted)


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def _not_allowed() -> Forbidden:
    return Forbidden(f"this server may not show outputs there: its setting {SETTING} does not list the place")


@contextmanager
def _failing() -> Iterator[None]:
    """What keeps a file from being read, as it is told."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("the output is not there") from error
    except (OSError, ValueError) as error:
        told = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise Refused(f"the server cannot read the output: {told}", code="output_unreadable") from error


@contextmanager
def _opened(real: Path) -> Iterator[int]:
    """A file by its real path, through folders that are no links (any more)."""
    fd = os.open("/", _FOLDER)
    try:
        for number, name in enumerate(real.parts[1:], 1):
            inner = os.open(name, _FOLDER if number < len(real.parts) - 1 else _FILE, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


async def _read_object(uri: str, path: str, max_bytes: int) -> Beginning:
    name, _, key = path.partition("/")
    try:
        store = obstore.store.from_url(f"{urlsplit(uri).scheme}://{name}", retry_config=RETRIES)
        size = int((await obstore.head_async(store, key))["size"])
        data = bytes(await obstore.get_range_async(store, key, start=0, end=min(size, max_bytes))) if size and max_bytes else b""
        return Beginning(data, size)
    except FileNotFoundError as error:
        raise NotFound("the output is not there") from error
    except ImportError as error:
        hint = "its operator installs astrarium[object-store]"
        raise Refused("the server has no library for object stores", code="output_unreadable", hint=hint) from error
    except (obstore.exceptions.BaseError, ValueError, OSError) as error:
        told = str(error).split("\n", 1)[0][:200]
        raise Refused(f"the server cannot read the output: {told}", code="output_unreadable") from error
