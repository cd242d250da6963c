"""What this worker has to offer to tries: tools, providers of models, a place for artifacts, and what runs are allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ....errors import Invalid, Unavailable
from ....lazy import plugins
from ....store.blob.artifact import Artifacts
from ...ports import PROVIDERS_GROUP, TOOLS_GROUP, Model, Provider, Tool

T = TypeVar("T")


class Late(Mapping[str, T]):
    """What is loaded when it is first looked at: a run without tools and models does not wait for them."""

    def __init__(self, load: Callable[[], dict[str, T]]) -> None:
        self._load = load

    @cached_property
    def _found(self) -> dict[str, T]:
        return self._load()

    def __getitem__(self, key: str) -> T:
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


Price = tuple[Decimal, Decimal]
"""What a million tokens cost, of questions and of answers."""


class Means(NamedTuple):
    """`grants`: patterns of permissions that runs have; `files`: the folder tools may read and write files in (None = the run's own);
    `model`: the one asked when a node names none; `prices`: of models by name, `*` = of any other."""

    tools: Mapping[str, Tool] = {}
    providers: Mapping[str, Provider] = {}
    artifacts: Artifacts | None = None
    grants: tuple[str, ...] = ()
    files: Path | None = None
    model: Model = Model("", "")
    prices: Mapping[str, Price] = {}

    def granted(self, permission: str) -> bool:
        """Whether runs are allowed this. In a grant `*` stands for anything: `db.*:read`, `tools:std:*`."""
        return any(fnmatchcase(permission, grant) for grant in self.grants)


def load_tools() -> dict[str, Tool]:
    """Every installed tool by id, built-in or a stranger's. Raises `Invalid` when two have the same."""
    found: dict[str, Tool] = {}
    origins: dict[str, str] = {}
    for entry in plugins(TOOLS_GROUP):
        loaded: Any = entry.load()
        given: Iterable[Tool] = loaded if isinstance(loaded, list | tuple) else (loaded,)
        for tool in given:
            id_ = tool.spec.id
            if id_ in found:
                hint = "give one of them another namespace or version, or uninstall it"
                raise Invalid(
                    f"two tools are called {id_}: those of {origins[id_]} and of {entry.value}", hint=hint, code="bad_plugin"
                )
            found[id_], origins[id_] = tool, entry.value
    return found


def load_providers() -> dict[str, Provider]:
    """Every installed provider of models by kind."""
    found = {entry.name: entry.load() for entry in plugins(PROVIDERS_GROUP)}
    if not found:
        raise Unavailable("no providers of models are installed", hint="reinstall astrarium: its entry points are missing")
    return found


def read_grants(text: str) -> tuple[str, ...]:
    """The patterns of the setting `graph_grants`."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def read_prices(text: str) -> dict[str, Price]:
    """The setting `model_prices`. Raises `Invalid`."""
    found: dict[str, Price] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, told = part.rpartition("=")
        asked, _, answered = told.partition("/")
        try:
            prices = (Decimal(asked), Decimal(answered or asked))
        except InvalidOperation:
            prices = (Decimal(-1), Decimal(-1))
        if not name or not all(price.is_finite() and price >= 0 for price in prices):
            hint = "model_prices is NAME=PRICE or NAME=QUESTION/ANSWER, … for a million tokens, such as tiny=0.15, large=2.50/10"
            raise Invalid(f"`{part}` is no price of a model", hint=hint, code="bad_settings")
        found[name.strip()] = prices
    return found
