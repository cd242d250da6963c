"""Where a client of the build registry works: the environment of an SDK request.

Surfaces give their SDK routes `place=sdk_environment`; the caller's scope is then (workspace, environment), and their capabilities
are those they have there. Stardag's rules and words: an API key works in its own environment, whatever the request names; a token
must name one with the query parameter `environment_id`. What has a home of its own (the owner of a machine, a token of the
settings) may leave it out and works there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ....errors import Forbidden, Invalid, NotFound
from ....kernel.engine import Engine
from ....kernel.machine import Registry
from ....kernel.record.entry import find_entry, find_handle
from ....kernel.types import Scope
from ....web.caller import EVERYTHING, LOCAL_OWNER, Caller
from ..access.at_hand import AtHand
from ..catalog import KEY, USER
from ..role import capabilities_for
from .body import ENVIRONMENT, MEMBER, check_uuid, known_id
from .directory import home_role

if TYPE_CHECKING:  # who only makes rooms stays free of the web framework
    from starlette.requests import HTTPConnection

PARAMETER = "environment_id"
ROLE_ITEM = "role"


class Places:
    """What requests ask about environments and members, at hand: a request on a hot path reads nothing."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._workspaces: AtHand[str] = AtHand(self._look_up_workspace, engine)
        self._workspaces.rests_on(registry, ENVIRONMENT)
        self._roles: AtHand[str] = AtHand(self._look_up_role, engine)
        self._roles.rests_on(registry, MEMBER)

    async def _look_up_workspace(self, environment: str) -> str | None:
        found = await find_handle(self._engine.store, ENVIRONMENT, environment)
        return found[0].workspace if found else None

    async def _look_up_role(self, key: str) -> str | None:
        workspace, _, actor = key.partition("/")
        entry = await find_entry(self._engine.store, workspace, MEMBER, actor)
        return "" if entry is None else str(entry.body[ROLE_ITEM])  # that there is none is kept, too

    async def workspace_of(self, environment: str) -> str:
        """The workspace an environment belongs to; empty when there is no such environment."""
        return await self._workspaces.get(environment) or ""

    async def role_in(self, workspace: str, actor: str) -> str:
        """The role an actor has in a workspace by an entry of theirs; empty when they have none."""
        return await self._roles.get(f"{workspace}/{actor}") or ""

    async def enter(self, caller: Caller, environment: str) -> Caller:
        """The caller as they are in an environment. Raises `NotFound` where there is none, `Forbidden` where it is not theirs."""
        workspace = await self.workspace_of(environment)
        if not workspace:
            raise NotFound("Environment not found")
        scope, home = Scope(workspace, environment), workspace == caller.scope.workspace
        role = "" if caller.confined and not home else await self.role_in(workspace, str(caller.actor))
        role = role or (home_role(caller) if home else "")
        if not role:
            raise Forbidden("Environment does not belong to your workspace")
        if home and ((role == caller.role and "@" not in role) or caller.capabilities is EVERYTHING):
            return msgspec.structs.replace(caller, scope=scope)
        may = capabilities_for(caller, workspace, role, environment)
        return msgspec.structs.replace(caller, scope=scope, role=role, capabilities=may)


def has_home(caller: Caller) -> bool:
    """Whether a caller has an environment of their own, which they need not name."""
    return caller.actor.kind != USER or caller.actor == LOCAL_OWNER.actor


async def sdk_environment(request: HTTPConnection, caller: Caller) -> Caller:
    """The caller as they are in the environment an SDK request is about. Raises `Invalid` when none is named, `NotFound`
    (`Environment not found`), `Forbidden` (`Environment does not belong to your workspace`)."""
    if caller.actor.kind == KEY:
        return caller
    given = request.query_params.get(PARAMETER, "") if request.scope.get("query_string") else ""
    if not given:
        if has_home(caller):
            return caller
        raise Invalid(f"{PARAMETER} is required as a query parameter unless an API key is used")
    try:
        id_ = known_id(check_uuid(given, f"query.{PARAMETER}"))
    except Invalid:
        raise NotFound("Environment not found") from None
    places: Places = request.app.state.tenancy.places
    return await places.enter(caller, id_)
