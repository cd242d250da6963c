"""The list of DAG files: narrowed, sorted, one page of it, with each one's newest run. And search in their texts: a regular
expression, line by line, in time linear in the text.

RE2 (the syntax of Go, and so of Dagu) never goes back over what it has read, so no expression can hold the server up; what
it cannot do (look-around, references to groups) is refused by name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

import re2  # type: ignore[import-untyped]

from ....errors import AstrariumError, Invalid, Problem
from ....kernel.types import Scope
from ....web.paging import pages, parse_page
from .. import wire
from ..catalog import Catalog, Entry
from . import definition, query
from .query import RunRow
from .queue import waiting_for
from .run import RunViews, no_summary
from .schedule import UNPLANNED, Planned, moment, planned

PAGE_CAP = 200
SORTS = ("name", "nextRun")
MAX_PATTERN = 1000
MAX_PATTERN_BYTES = 1 << 20
"""Memory one compiled expression may take."""
MAX_RESULTS = 1000
MAX_MATCHES = 200
"""Matches shown of one file."""
AROUND = 2
"""Lines shown before and after a match (Dagu 1.30)."""
SEARCH_S = 10.0
"""How long one search may take; what it found by then is the answer."""


async def list_dags(catalog: Catalog, views: RunViews, scope: Scope, asked: Mapping[str, str]) -> wire.definition.DagList:
    """A page of the files. Raises `Invalid` for parameters that make no sense."""
    page = parse_page(asked, cap=PAGE_CAP)
    sort, order = check_sort(asked.get("sort") or "name", asked.get("order") or "asc")
    part, tag = asked.get("name", "").lower(), asked.get("tag", "").strip().lower()
    entries = [entry for entry in await asyncio.to_thread(catalog.entries) if matches(entry, part, tag)]
    plans = await planned(views.reader, scope)
    if sort == "nextRun":
        starts = {entry.path: next_start(entry, plans) for entry in entries}
        soon = sorted((entry for entry in entries if starts[entry.path]), key=lambda entry: starts[entry.path])
        idle = [entry for entry in entries if not starts[entry.path]]
        entries = [*(reversed(soon) if order == "desc" else soon), *idle]
    elif order == "desc":
        entries.reverse()
    shown = entries[page.offset : page.offset + page.size]
    latest = await query.latest_runs(views.reader, scope, [entry.name for entry in shown])
    why = await waiting_for(views.reader.read, latest.values())
    dags = [
        wire.definition.DagFile(
            entry.file_name, definition.entry_dag(entry),
            summary_of(views, latest.get(entry.name), entry.name, why),
            plans.get(entry.stem, UNPLANNED).suspended, entry.errors, moment(start) if (start := next_start(entry, plans)) else "",
            plans.get(entry.stem, UNPLANNED).last,
        )
        for entry in shown
    ]  # fmt: skip
    place = pages(page, len(entries))
    return wire.definition.DagList(dags, [], wire.shape.Pagination(place.total, place.current, place.last, place.next, place.previous))


def summary_of(views: RunViews, row: RunRow | None, name: str, why: Mapping[str, str]) -> wire.run.RunSummary:
    return no_summary(name) if row is None else views.summary(row, why.get(row.id, ""))


def check_sort(sort: str, order: str) -> tuple[str, str]:
    problems: list[Problem] = []
    if sort not in SORTS:
        problems.append(Problem(f"sort must be one of {', '.join(SORTS)}, not {sort[:40]!r}", path="sort"))
    if order not in ("asc", "desc"):
        problems.append(Problem(f"order must be asc or desc, not {order[:40]!r}", path="order"))
    if problems:
        raise Invalid("; ".join(problem.message for problem in problems), problems)
    return sort, order


def matches(entry: Entry, part: str, tag: str) -> bool:
    if part and part not in entry.file_name.lower() and part not in entry.name.lower():
        return False
    return not tag or (entry.dag is not None and tag in entry.dag.tags)


def next_start(entry: Entry, plans: Mapping[str, Planned]) -> int:
    """The next slot that starts a file, in microseconds; 0 = none. A file with a problem is not started."""
    return 0 if entry.problems else plans.get(entry.stem, UNPLANNED).next_start


# -- search ------------------------------------------------------------------------------------------------------------


class Pattern(Protocol):
    def search(self, text: str) -> Any | None: ...


def parse_pattern(text: str) -> Pattern:
    """A client's expression, case-insensitive. Raises `Invalid`."""
    if len(text) > MAX_PATTERN:
        raise Invalid(f"q is longer than {MAX_PATTERN} characters", [Problem("is too long", path="q")])
    options = re2.Options()
    options.case_sensitive, options.log_errors, options.max_mem = False, False, MAX_PATTERN_BYTES
    try:
        pattern: Pattern = re2.compile(text, options)
        return pattern
    except (re2.error, UnicodeError) as error:
        told = error.args[0] if error.args else error
        reason = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        problem = Problem(f"is no regular expression: {reason}", path="q", hint="the syntax is RE2's; put \\ before a literal . * ( [")
        raise Invalid(f"q {problem.message}", [problem], hint=problem.hint) from None


def search_dags(catalog: Catalog, text: str) -> wire.definition.SearchAnswer:
    """The files that match, by name, each with its first matches. Blocks. Raises `Invalid`."""
    found = wire.definition.SearchAnswer([], [])
    if not text:
        return found
    pattern, until = parse_pattern(text), time.monotonic() + SEARCH_S
    for entry in catalog.entries():
        if len(found.results) == MAX_RESULTS or time.monotonic() > until:
            found.errors.append(f"only the first {len(found.results)} files found are shown; ask for something rarer")
            break
        try:
            matches = matches_of(pattern, catalog.text(entry))
        except AstrariumError as error:
            found.errors.append(f"{entry.file_name}: {error.message}")
            continue
        if matches:
            found.results.append(wire.definition.SearchResult(entry.stem, definition.entry_dag(entry), matches))
    return found


def matches_of(pattern: Pattern, text: str) -> list[wire.definition.SearchMatch]:
    """The first matches in one text, each with the lines around it."""
    lines = text.split("\n")
    made: list[wire.definition.SearchMatch] = []
    for number, line in enumerate(lines):
        if pattern.search(line) is None:
            continue
        first = max(0, number - AROUND)
        made.append(wire.definition.SearchMatch("\n".join(lines[first : number + AROUND + 1]), number + 1, first + 1))
        if len(made) == MAX_MATCHES:
            break
    return made


def tags_of(catalog: Catalog) -> list[str]:
    """Every tag of every file, sorted. Blocks."""
    return sorted({tag for entry in catalog.entries() if entry.dag is not None for tag in entry.dag.tags})
