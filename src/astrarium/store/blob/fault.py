"""Errors of a disk or a network in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ...errors import NotFound, Unavailable


class Place:
    """A place for blobs as its errors tell of it: what it is, the code and the mending of an error, and what it raises beside `OSError`."""

    def __init__(self, shown: str, code: str, hint: str, *raises: type[Exception]) -> None:
        self._shown = shown
        self._code = code
        self._hint = hint
        self._raises: tuple[type[Exception], ...] = (OSError, *raises)

    @contextlib.contextmanager
    def failing(self, hash_: str = "") -> Iterator[None]:
        """Raises `Unavailable` for what the place raises; `NotFound` when a blob is named and is not there."""
        try:
            yield
        except self._raises as error:
            if hash_ and isinstance(error, FileNotFoundError):
                raise NotFound(f"there is no blob {hash_}") from error
            told = getattr(error, "strerror", None) or str(error).split("\n", 1)[0][:300]
            raise Unavailable(f"{self._shown} failed: {told}", code=self._code, hint=self._hint) from error


def damaged(where: str) -> Unavailable:
    return Unavailable(f"{where} is damaged", code="damaged", hint="restore it from a backup")
