"""The life of a build. Its driver is outside and says how it ended; what it said last counts.

Stardag (Feb 2026): `complete`, `fail`, `cancel` and `exit-early` may follow one another in any order, each changes the status. Its later
`/api/v2` keeps the first of the three ends, which `sticky` asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from ....errors import Bug, NotFound, Refused
from ....kernel.machine import Machine, Move
from ....kernel.types import Effect, Facts, Job, Row, Scope
from .plan import generation
from .plan.generation import ActivatePlan, AddPlan, BuildResumed, PlanAdded, PlanSealed, ReactiveSet, ResumeBuild, SetReactive
from .plan.row import BUILD_ACTIVITY, BUILD_DRIVES, PLANS
from .row import BUILD_EVENTS, BUILDS

Outcome = Literal["completed", "failed", "cancelled", "exit_early"]
ENDS = ("completed", "failed", "cancelled", "exit_early")
STATUSES = ("pending", "running", *ENDS)
"""As clients know them; ours run from their first moment."""
TERMINAL = ("completed", "failed", "cancelled")
"""Ends that stay for a `sticky` order."""
RELEASE_JOB = "builds.release"
"""Lets go what a build that ended still claims."""


def build_stream(id_: str) -> str:
    return f"build:{id_}"


# -- commands ---------------------------------------------------------------------------------------------------------


class StartBuild(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """`user` is the actor who starts it, empty when it is no person; `metadata` tells who drives it."""

    name: str
    description: str | None = None
    commit_hash: str | None = None
    roots: tuple[str, ...] = ()
    user: str = ""
    metadata: dict[str, Any] | None = None

    def told(self) -> Any:
        """What the client said."""
        return [self.description, self.commit_hash, self.roots]


class EndBuild(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """`triggered_by` names who ended it; a `sticky` order refuses to change an end."""

    outcome: Outcome
    error: str | None = None
    triggered_by: str = ""
    sticky: bool = False


# -- events -----------------------------------------------------------------------------------------------------------


class BuildStarted(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """`environment`: its stream does not name it."""

    environment: str
    name: str
    description: str | None = None
    commit_hash: str | None = None
    roots: tuple[str, ...] = ()
    user: str = ""
    metadata: dict[str, Any] | None = None


class BuildEnded(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    outcome: Outcome
    error: str | None = None
    triggered_by: str = ""


EVENTS = (BuildStarted, BuildEnded, *generation.EVENTS)
TOLD = (BuildStarted, BuildEnded, BuildResumed)
"""Events that stand in lists of events."""
TYPES = {
    "completed": "build_completed",
    "failed": "build_failed",
    "cancelled": "build_cancelled",
    "exit_early": "build_exit_early",
}
"""How an end is called in lists of events."""


def type_of(event: BuildStarted | BuildEnded | BuildResumed) -> str:
    if isinstance(event, BuildEnded):
        return TYPES[event.outcome]
    return "build_started" if isinstance(event, BuildStarted) else "build_resumed"


# -- state ------------------------------------------------------------------------------------------------------------


class Build(msgspec.Struct, omit_defaults=True):
    """What is written out of a build. `number` counts its events."""

    number: int = 0
    environment: str = ""
    name: str = ""
    description: str | None = None
    commit_hash: str | None = None
    roots: tuple[str, ...] = ()
    user: str = ""
    status: str = ""
    created_at: int = 0
    completed_at: int = 0
    error: str | None = None
    triggered_by: str = ""
    resumed: bool = False
    metadata: dict[str, Any] | None = None
    reactive_app: str = ""
    reactive_kwargs: dict[str, Any] | None = None
    plans: dict[str, generation.Generation] = {}


class BuildState:
    """A build in memory, with the rows that are to be written."""

    __slots__ = ("id", "kept", "rows", "scope")

    def __init__(self, stream: str, scope: Scope, kept: Build | None = None) -> None:
        self.id = stream.partition(":")[2]
        self.scope = scope
        self.kept = kept if kept is not None else Build()
        self.rows: list[Row] = []


class BuildMachine(Machine[BuildState]):
    name = "build"
    events = EVENTS
    tables = (BUILDS, BUILD_EVENTS, BUILD_ACTIVITY, BUILD_DRIVES, PLANS)
    creates = (StartBuild,)
    table = (
        Move("build", ("new",), (StartBuild,), BuildStarted, ("running",)),
        Move("build", ("running", *ENDS), (EndBuild,), BuildEnded, ENDS),
        Move("build", ("running", *ENDS), (ResumeBuild,), BuildResumed, ("running",)),
        *(
            Move("build", (status,), (asked,), gives, (status,))
            for status in ("running", *ENDS)
            for asked, gives in ((AddPlan, PlanAdded), (ActivatePlan, PlanSealed), (SetReactive, ReactiveSet))
        ),
    )

    def new(self, stream: str, scope: Scope) -> BuildState:
        return BuildState(stream, scope)

    def decide(self, state: BuildState, command: Any, facts: Facts) -> list[Any]:
        kept = state.kept
        if isinstance(command, StartBuild):
            if kept.status:
                raise Refused(f"build {state.id} has begun already", code="already_exists")
            where = state.scope.environment
            told = (command.name, command.description, command.commit_hash, command.roots, command.user, command.metadata)
            return [BuildStarted(where, *told)]
        if not kept.status:
            raise NotFound("Build not found")
        if isinstance(command, EndBuild):
            if command.sticky and kept.status == command.outcome:
                return []
            if command.sticky and kept.status in TERMINAL:
                raise Refused(f"the build is {kept.status}", code="build_terminal", details={"build_status": kept.status})
            if (kept.status, kept.error, kept.triggered_by) == (command.outcome, command.error, command.triggered_by):
                return []
            return [BuildEnded(command.outcome, command.error, command.triggered_by)]
        if isinstance(command, SetReactive):
            same = (kept.reactive_app, kept.reactive_kwargs) == (command.app, command.kwargs)
            return [] if same else [ReactiveSet(command.app, command.kwargs)]
        if isinstance(command, generation.ORDERS):
            return generation.decide(kept.plans, kept.status == "running", kept.metadata, command)
        raise Bug(f"a build knows no {type(command).__name__}")

    def status(self, state: BuildState, event: Any) -> str:
        return state.kept.status or "new"

    def evolve(self, state: BuildState, event: Any, at: int) -> None:
        kept = state.kept
        kept.number += 1
        if isinstance(event, BuildStarted):
            kept.environment, kept.name = event.environment, event.name
            kept.description, kept.commit_hash = event.description, event.commit_hash
            kept.roots, kept.user, kept.status, kept.created_at = event.roots, event.user, "running", at
            kept.metadata = event.metadata
        elif isinstance(event, BuildEnded):
            kept.status, kept.completed_at = event.outcome, at
            kept.error, kept.triggered_by = event.error, event.triggered_by
        elif isinstance(event, BuildResumed):
            kept.status, kept.completed_at, kept.error, kept.triggered_by, kept.resumed = "running", 0, None, "", True
            kept.metadata = event.metadata if event.metadata is not None else kept.metadata
        elif isinstance(event, ReactiveSet):
            kept.reactive_app, kept.reactive_kwargs = event.app, event.kwargs
        generation.fold(kept.plans, event, at)
        state.rows.append((BUILD_ACTIVITY, (state.id, kept.environment, at)))
        if isinstance(event, TOLD):
            self._tell(state, event, at)

    def _tell(self, state: BuildState, event: Any, at: int) -> None:
        kept = state.kept
        error, triggered_by = getattr(event, "error", None), getattr(event, "triggered_by", "")
        metadata = msgspec.json.encode({"triggered_by_user_id": triggered_by}) if triggered_by else None
        state.rows.append(
            (BUILD_EVENTS, (state.id, at, "", kept.number, state.scope.workspace, "", type_of(event), error, metadata, "", "", 1))
        )

    def react(self, state: BuildState, event: Any, at: int) -> Iterable[Effect]:
        if isinstance(event, BuildEnded) and event.outcome in TERMINAL and state.kept.plans:
            return (Job(f"release:{state.id}", RELEASE_JOB, build_stream(state.id)),)
        return ()

    def rows(self, state: BuildState) -> Iterable[Row]:
        if not state.rows:
            return ()
        made, state.rows = state.rows, []
        kept = state.kept
        kwargs, metadata = (
            msgspec.json.encode(one) if one is not None else None for one in (kept.reactive_kwargs, kept.metadata)
        )
        made.append((BUILD_DRIVES, (state.id, kept.environment, int(kept.resumed), metadata, kept.reactive_app, kwargs)))
        return [(BUILDS, build_row(state)), *made, *generation.plan_rows(kept.environment, state.id, kept.plans)]

    def dump(self, state: BuildState) -> bytes:
        return msgspec.json.encode(state.kept)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> BuildState:
        return BuildState(stream, scope, msgspec.json.decode(data, type=Build))

    def ended(self, state: BuildState) -> bool:
        return state.kept.status in ENDS


def build_row(state: BuildState) -> tuple[Any, ...]:
    kept = state.kept
    roots = msgspec.json.encode(kept.roots)
    return (
        state.id, state.scope.workspace, kept.environment, kept.name, kept.description, kept.commit_hash, roots, kept.user, kept.status,
        kept.created_at, kept.created_at, kept.completed_at, kept.error, kept.triggered_by,
    )  # fmt: skip
