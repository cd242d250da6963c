"""Finding the route of a path by its segments, not by trying every route there is.

The framework asks each route in turn whether it matches, so a request costs more with every route a server has: with two hundred of
them, a third of what a small request costs at all. Here only those are asked whose fixed segments are the path's; which of them wins
is as before: the first that was added.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from starlette.routing import BaseRoute, Match, NoMatchFound, Route
from starlette.types import Receive, Scope, Send

FOUND = "astrarium.route"
"""Where the route that was found waits for its turn."""
LEAD = 3
"""So many leading segments are looked up at once."""
Place = tuple[int, tuple[str, ...]]
"""How many segments, and the fixed ones they begin with."""
Fixed = tuple[tuple[int, str], ...]
"""Places of segments, and what stands there."""
_PARAMETER = re.compile(r"\{(\w+)\}")


class Candidate:
    """A route, when it was added, and its fixed segments after the leading ones. `parameters`: their places and names; None when one
    is only a part of its segment, or is read in a way of its own."""

    __slots__ = ("fixed", "number", "parameters", "route")

    def __init__(self, number: int, route: Route, fixed: Fixed, parameters: Fixed | None) -> None:
        self.number = number
        self.route = route
        self.fixed = fixed
        self.parameters = parameters


class RouteIndex(BaseRoute):
    """Many routes in the place of one. A parameter is one segment: no `{name:path}`."""

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self._by_place: dict[Place, list[Candidate]] = {}
        self._leads: dict[int, set[int]] = {}

    def add(self, path: str, endpoint: Any, methods: list[str]) -> None:
        """Add a route. Raises ValueError for a parameter of several segments."""
        segments = path.split("/")
        if any(":path" in segment for segment in segments):
            raise ValueError(f"{path}: a parameter is one segment here")
        route = Route(path, endpoint, methods=methods, include_in_schema=False)
        self.routes.append(route)
        lead = next((place for place, segment in enumerate(segments) if "{" in segment), len(segments))
        lead = min(lead, LEAD + 1)  # the first segment is empty: paths begin with a slash
        fixed = tuple((place, segment) for place, segment in enumerate(segments) if place >= lead and "{" not in segment)
        self._leads.setdefault(len(segments), set()).add(lead)
        place = (len(segments), tuple(segments[:lead]))
        candidate = Candidate(len(self.routes), route, fixed, _parameters(segments))
        self._by_place.setdefault(place, []).append(candidate)

    def find(self, scope: Scope) -> Any:
        """The endpoint of a request, with its parameters put into the scope as `matches` and `handle` would. None when it takes these to
        tell."""
        segments: list[str] = scope["path"].split("/")
        if scope.get("root_path"):
            return None
        for candidate in self._candidates(segments):
            if candidate.parameters is None:
                return None
            if scope["method"] in (candidate.route.methods or ()):
                parameters = {name: segments[place] for place, name in candidate.parameters}
                if not all(parameters.values()):
                    return None
                scope["path_params"] = parameters
                scope["endpoint"] = candidate.route.endpoint
                return candidate.route.endpoint
        return None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        partial: tuple[Match, Scope] | None = None
        for candidate in self._candidates(scope["path"].removeprefix(scope.get("root_path", "")).split("/")):
            match, child = candidate.route.matches(scope)
            if match is Match.FULL:
                return match, {**child, FOUND: candidate.route}
            if match is Match.PARTIAL and partial is None:
                partial = match, {**child, FOUND: candidate.route}
        return partial or (Match.NONE, {})

    def _candidates(self, segments: Sequence[str]) -> list[Candidate]:
        """Routes whose fixed segments are the path's, in the order they were added."""
        count = len(segments)
        found: list[Candidate] = []
        for lead in self._leads.get(count, ()):
            for candidate in self._by_place.get((count, tuple(segments[:lead])), ()):
                for place, segment in candidate.fixed:
                    if segments[place] != segment:
                        break
                else:
                    found.append(candidate)
        if len(found) > 1:
            found.sort(key=lambda candidate: candidate.number)
        return found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        route: Route = scope[FOUND]
        await route.handle(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NoMatchFound(name, path_params)


def _parameters(segments: Sequence[str]) -> Fixed | None:
    found = [(place, segment) for place, segment in enumerate(segments) if "{" in segment]
    names = [(place, match[1]) for place, segment in found if (match := _PARAMETER.fullmatch(segment))]
    return tuple(names) if len(names) == len(found) else None


def index_of(routes: list[BaseRoute]) -> RouteIndex:
    """The index among an application's routes; made with the first who asks."""
    for route in routes:
        if isinstance(route, RouteIndex):
            return route
    made = RouteIndex()
    routes.append(made)
    return made
