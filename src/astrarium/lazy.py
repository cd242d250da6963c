"""What a start does not pay for: libraries that are loaded when they are first used, and one look for plugins.

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")
"""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from types import ModuleType
from typing import Any


def library(name: str) -> ModuleType:
    """A stand-in for the library `name`. Whoever asks it for something first loads the library, and meets its ImportError."""
    return _Library(name)


class _Library(ModuleType):
    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self.__name__), name)
        setattr(self, name, found)
        return found


@functools.cache
def plugins(group: str) -> EntryPoints:
    """The installed entry points of a group; none is loaded."""
    return _installed().select(group=group)


@functools.cache
def _installed() -> Any:
    """All of all packages: finding them reads each package's list, some 10 ms."""
    return entry_points()
