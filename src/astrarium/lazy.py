"""Libraries that are loaded when they are first used, so that a start does not pay for what most processes never need.

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")
"""

from __future__ import annotations

from importlib import import_module
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
