"""Target roots: the named places below which results lie. From the environment, else what the registry told last, else a local folder."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from ...config import load_config
from ...errors import NotFound

_PREFIXES = ("ASTRARIUM_", "STARDAG_")
_CHOSEN: ContextVar[Mapping[str, str] | None] = ContextVar("target_roots", default=None)


def target_root(name: str = "default") -> str:
    """The URI of the root `name`. No server is asked: what `auth login` or `target-roots sync` fetched is used. Raises `NotFound`."""
    known = target_roots()
    if name not in known:
        raise NotFound(
            f"there is no target root named {name!r}; known are {', '.join(sorted(known))}",
            hint=f"`astrarium config target-roots sync` fetches them; or set ASTRARIUM_TARGET_ROOTS__{name.upper()}=uri",
        )
    return known[name]


def target_roots() -> Mapping[str, str]:
    """All roots by name."""
    chosen = _CHOSEN.get()
    if chosen is not None:
        return chosen
    given = tuple(sorted((key, value) for key, value in os.environ.items() if key.startswith(_PREFIXES) or key == "HOME"))
    return _configured(given, os.getcwd())


@functools.lru_cache(maxsize=8)
def _configured(given: tuple[tuple[str, str], ...], folder: str) -> Mapping[str, str]:
    """As configured. What it depends on besides files is its key; a file is read once."""
    return load_config().target_roots


def forget_roots() -> None:
    """Read them anew when they are next asked for."""
    _configured.cache_clear()


def are_chosen() -> bool:
    """Whether the program itself says which roots to use: nobody else is asked then."""
    return _CHOSEN.get() is not None


@contextmanager
def use_target_roots(roots: Mapping[str, str]) -> Iterator[None]:
    """Use these roots, and no others, inside the block: for tests, and for programs that are told where to work. Targets that a task
    has already named stay where they are."""
    before = _CHOSEN.set(dict(roots))
    try:
        yield
    finally:
        _CHOSEN.reset(before)
