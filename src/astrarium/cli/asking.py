"""Commands that ask a registry and show what it answers: what they have in common is said here."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import typer

from ..sdk.registry.api import APIRegistry
from .client import EnvironmentName, ProfileName, open_registry
from .option import AsJson, print_json
from .screen import clock, show_rows, show_values

Call = Callable[[APIRegistry], Any]
Show = Callable[[Any], None]
Columns = Mapping[str, str | Callable[[Any], Any]]
"""Title of a column → what stands in it: a member of what is listed, a time when its name ends with `_at`; or made of it."""


class Ask(NamedTuple):
    """What is asked, and how people are shown the answer."""

    call: Call
    show: Show = show_values


def asks(app: typer.Typer, name: str, epilog: str) -> Callable[[Callable[..., Ask]], Callable[..., Ask]]:
    """Make a command of a function that says what its options and arguments ask for. `--profile`, `--environment` and `--json` are
    added to them."""

    def add(plan: Callable[..., Ask]) -> Callable[..., Ask]:
        def command(
            profile: ProfileName = None, environment: EnvironmentName = None, as_json: AsJson = False, **options: Any
        ) -> int:
            asked = plan(**options)
            with open_registry(profile, environment) as registry:
                found = asked.call(registry)
            (print_json if as_json else asked.show)(found)
            return 0

        *ours, _ = inspect.signature(command, eval_str=True).parameters.values()
        shown = [*inspect.signature(plan, eval_str=True).parameters.values(), *ours]
        command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in shown}
        command.__doc__ = plan.__doc__
        app.command(name, epilog=epilog)(command)
        return plan

    return add


def call(method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Call:
    """One request is all that is asked."""
    return lambda registry: registry.call(method, path, body, query)


def get(path: str, **query: Any) -> Call:
    return call("GET", path, query=query or None)


def rows_of(found: Sequence[Any], columns: Columns) -> list[tuple[Any, ...]]:
    return [tuple(_cell(one, column) for column in columns.values()) for one in found]


def _cell(one: Any, column: str | Callable[[Any], Any]) -> Any:
    if not isinstance(column, str):
        return column(one)
    return clock(one.get(column)) if column.endswith("_at") else one.get(column)


def table(member: str, columns: Columns, empty: str) -> Show:
    """Shows what is listed in a member of the answer, a row each, and how the list goes on; `empty` is said when it is empty."""

    def show(found: Any) -> None:
        show_rows(tuple(columns), rows_of(found[member], columns), empty)
        if cursor := found.get("next_cursor"):  # where the rows themselves are not disturbed
            print(f"there are more: --cursor {cursor}", file=sys.stderr)

    return show
