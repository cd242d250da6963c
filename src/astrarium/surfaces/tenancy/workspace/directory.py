"""Workspaces themselves, who is in which, and the one way to change what a workspace consists of.

A caller is a member by an entry of theirs; besides, everybody is in the workspace their credential belongs to, with the role it has
there. Whose a workspace is not does not learn that it exists: both are `Workspace not found`, by the same query.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import msgspec

from ....config import Settings
from ....errors import Conflict, Forbidden, Invalid, NotFound, Refused
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.record.entry import (
    DropEntry,
    Entry,
    PutEntry,
    check_version,
    entry_stream,
    find_entry,
    find_handle,
    list_entries,
    read_entry,
)
from ....kernel.types import Command, Scope
from ....spec.ids import uuid7
from ....web.caller import EVERYTHING, LOCAL_OWNER, PERSONAL, Caller
from ..catalog import KEY, USER, check_label
from ..role import OWNER, capabilities_for
from .body import (
    DIRECTORY,
    ENVIRONMENT,
    INVITE,
    MEMBER,
    ROOT,
    TITLE_MAX,
    URI_MAX,
    WORKSPACE,
    EnvironmentBody,
    MemberBody,
    RootBody,
    WorkspaceBody,
    actor_id,
    check_slug,
    check_text,
    root_name,
    workspace_body,
)

log = logging.getLogger("astrarium.tenancy")
TRIES = 20
"""How often a change is planned anew because another one came first."""
FIRST_ROOT = ("default", "~/.astrarium/local-target-roots/default")
"""Name and place of the personal workspace's target root."""
MAKER = "maker"
"""One who made workspaces: an entry whose version grows with each, where their number is limited."""
PARTS = (MEMBER, INVITE, ENVIRONMENT, KEY, ROOT)
"""Kinds of entries a workspace consists of."""

Plan = Callable[[Entry], Awaitable[Sequence[Command]]]
"""(the workspace's entry) → what is to change. May refuse; called again when another change came first."""


class NewWorkspace(msgspec.Struct, frozen=True):
    """What a workspace begins with; a target root only when both of its fields are given."""

    title: str
    slug: str
    description: str | None = None
    environment_title: str = "Default"
    environment_slug: str = "default"
    root_label: str = ""
    root_uri: str = ""


def put(scope: Scope, caller: Caller, kind: str, id_: str, name: str, body: Any, *, handle: str = "", expect: int = 0) -> Command:
    """The command that makes (`expect` 0) or changes one entry of a workspace."""
    order = PutEntry(name, msgspec.to_builtins(body), str(caller.actor), handle, expect=expect)
    return Command(entry_stream(kind, id_), order, scope, caller.actor)


def drop(caller: Caller, entry: Entry) -> Command:
    """The command that ends one entry of a workspace."""
    order = DropEntry(str(caller.actor), entry.version)
    return Command(entry_stream(entry.kind, entry.id), order, Scope(entry.workspace, ""), caller.actor)


@contextlib.contextmanager
def in_words(taken: str) -> Iterator[None]:
    """A refusal because a name is taken, in the words clients know."""
    try:
        yield
    except Refused as error:
        if error.code == "already_exists":
            raise Refused(taken, code="already_exists") from error
        raise


def home_role(caller: Caller) -> str:
    """The role somebody has where their credential belongs, without being a member by an entry: accounts in the personal workspace,
    keys and tokens in theirs. Of another workspace a user is a member by an entry or not at all, whatever their token says."""
    return "" if caller.actor.kind == USER and caller.scope.workspace != PERSONAL.workspace else caller.role


class Directory:
    """The workspaces of one server."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings

    # -- who is where ---------------------------------------------------------------------------------------------------

    async def enter(self, caller: Caller, workspace: str, environment: str = "") -> Caller:
        """The caller as they are in a workspace: their role there and what they may do, about one `environment` of it or about the
        whole. Raises `NotFound` where they are no member, or their token is for another workspace."""
        home = workspace == caller.scope.workspace
        member = await find_entry(self.engine.store, workspace, MEMBER, str(caller.actor))
        role = str(member.body["role"]) if member is not None else home_role(caller) if home else ""
        if not role or (caller.confined and not home):
            raise NotFound("Workspace not found")
        await self.get(workspace)
        if home and caller.capabilities is EVERYTHING:
            return caller
        scope = caller.scope if home else Scope(workspace, "")
        may = capabilities_for(caller, workspace, role, environment)
        return msgspec.structs.replace(caller, scope=scope, role=role, capabilities=may)

    async def mine(self, caller: Caller) -> list[tuple[Entry, str]]:
        """The caller's workspaces, each with their role there, the oldest first."""
        roles = {caller.scope.workspace: home_role(caller)} if home_role(caller) else {}
        for member in await find_handle(self.engine.store, MEMBER, str(caller.actor)):
            roles[member.workspace] = str(member.body["role"])
        found = [(await self._read(workspace), role) for workspace, role in roles.items()]
        return sorted(((entry, role) for entry, role in found if entry is not None), key=lambda pair: pair[0].created_at)

    async def _read(self, workspace: str) -> Entry | None:
        return await read_entry(self.engine.store, DIRECTORY.workspace, WORKSPACE, workspace)

    async def get(self, workspace: str) -> Entry:
        """Raises `NotFound`."""
        entry = await self._read(workspace)
        if entry is None:
            raise NotFound("Workspace not found")
        return entry

    async def parts(self, workspace: str, kind: str) -> list[Entry]:
        """What there is of a kind in a workspace, the oldest first."""
        found = await list_entries(self.engine.store, workspace, kind)
        return sorted(found, key=lambda entry: (entry.created_at, entry.id))

    # -- changing -------------------------------------------------------------------------------------------------------

    async def arrange(self, caller: Caller, plan: Plan) -> None:
        """Change what the caller's workspace consists of. Such changes happen one after the other, also at several servers: each rests
        on the version of the workspace it saw, and is planned again when another came first. So rules about several entries (the last
        owner, the last environment, a limit) hold. Raises what `plan` raises, `NotFound` for a workspace that is gone."""
        workspace = caller.scope.workspace
        for _ in range(TRIES):
            entry = await self.get(workspace)
            commands = await plan(entry)
            guard = put(DIRECTORY, caller, WORKSPACE, workspace, entry.name, entry.body, expect=entry.version)
            try:
                await self.engine.submit_all((guard, *commands))
            except Conflict:
                continue
            return
        raise Conflict("the workspace is being changed by many at once", hint="repeat the request")

    async def create(self, caller: Caller, new: NewWorkspace) -> Entry:
        """Make a workspace; the caller owns it. Raises `Invalid`, `Forbidden`, `Refused`."""
        check_label(new.title, "name", TITLE_MAX)
        check_slug(new.slug)
        check_text(new.description)
        check_label(new.environment_title, "initial_environment_name", TITLE_MAX)
        check_slug(new.environment_slug, "initial_environment_slug")
        if caller.actor.kind == KEY:
            raise Forbidden("An API key belongs to one environment and cannot create a workspace")
        for _ in range(TRIES):
            guard = await self._check_room(caller)
            id_ = uuid7()
            try:
                await self.make(caller, id_, uuid7(), new, WorkspaceBody(new.title, new.description), guard)
            except Conflict:
                continue
            return await self.get(id_)
        raise Conflict("too many workspaces are being made at once", hint="repeat the request")

    async def _check_room(self, caller: Caller) -> Sequence[Command]:
        """What has to happen together with the making of one more workspace: of several at once that were counted alike, the first one
        holds, also at several servers. Raises `Forbidden` when the caller has as many as they may."""
        most, store, maker = self.settings.max_workspaces, self.engine.store, actor_id(str(caller.actor))
        if not most:
            return ()
        entry = await read_entry(store, DIRECTORY.workspace, MAKER, maker)
        while entry is None:
            with contextlib.suppress(Refused):  # another request made it meanwhile
                await self.engine.submit(put(DIRECTORY, caller, MAKER, maker, "", {}))
            entry = await read_entry(store, DIRECTORY.workspace, MAKER, maker)
        made = await list_entries(store, DIRECTORY.workspace, WORKSPACE)
        if sum(one.created_by == str(caller.actor) for one in made) >= most:
            raise Forbidden(f"You can create at most {most} workspaces")
        return (put(DIRECTORY, caller, MAKER, maker, "", {}, expect=entry.version),)

    async def has_slug(self, slug: str) -> bool:
        return await find_entry(self.engine.store, DIRECTORY.workspace, WORKSPACE, slug) is not None

    async def make(
        self, caller: Caller, id_: str, environment: str, new: NewWorkspace, body: WorkspaceBody, first: Sequence[Command] = ()
    ) -> None:
        """Make a workspace as it is given, together with what comes `first`: all of it or nothing. Raises `Refused`."""
        scope, actor = Scope(id_, ""), str(caller.actor)
        beginning = EnvironmentBody(new.environment_title, f"{new.environment_title} environment")
        commands = [
            *first,
            put(DIRECTORY, caller, WORKSPACE, id_, new.slug, body),
            put(scope, caller, MEMBER, uuid7(), actor, MemberBody(OWNER), handle=actor),
            put(scope, caller, ENVIRONMENT, environment, new.environment_slug, beginning, handle=environment),
        ]
        if new.root_label and new.root_uri:
            check_label(new.root_label, "initial_target_root_name", TITLE_MAX)
            check_label(new.root_uri, "initial_target_root_uri", URI_MAX)
            root = RootBody(environment, new.root_label, new.root_uri)
            commands.append(put(scope, caller, ROOT, uuid7(), root_name(environment, new.root_label), root))
        commands.append(act(scope, caller.actor, "workspace.created", f"{WORKSPACE}:{id_}", slug=new.slug))
        with in_words("Workspace slug already exists"):
            await self.engine.submit_all(commands)

    async def make_personal(self) -> None:
        """What `PERSONAL` means, as entries: made at the first start, and left alone ever after."""
        if await self._read(PERSONAL.workspace) is not None:
            return
        new = NewWorkspace(
            "Personal", PERSONAL.workspace, "The workspace of this server's owner", "Local", PERSONAL.environment, *FIRST_ROOT
        )
        body = WorkspaceBody(new.title, new.description, personal=True)
        try:
            await self.make(LOCAL_OWNER, PERSONAL.workspace, PERSONAL.environment, new, body)
        except Refused:
            log.info("another server made the personal workspace")

    async def change(self, caller: Caller, title: str | None, description: str | None, expect: int | None = None) -> Entry:
        """`expect`: the version it must have. Raises `Invalid`, `NotFound`, `Conflict`."""
        workspace = caller.scope.workspace
        entry = await self.get(workspace)
        body = workspace_body(entry)
        title = check_label(title, "name", TITLE_MAX) if title is not None else body.title
        description = check_text(description) if description is not None else body.description
        body = msgspec.structs.replace(body, title=title, description=description)
        commands = (
            put(DIRECTORY, caller, WORKSPACE, workspace, entry.name, body, expect=entry.version if expect is None else expect),
            act(caller.scope, caller.actor, "workspace.changed", f"{WORKSPACE}:{workspace}", name=title),
        )
        await self.engine.submit_all(commands)
        return await self.get(workspace)

    async def delete(self, caller: Caller, busy: Callable[[Scope], Awaitable[str]], expect: int | None = None) -> None:
        """End a workspace and all it consists of; its keys are refused from then on. `busy` tells what still goes on in an
        environment. Raises `Invalid` for the personal one, `Refused` while work goes on in it, `Conflict` where it has another version
        than `expect`."""
        workspace = caller.scope.workspace
        if workspace_body(await self.get(workspace)).personal:
            raise Invalid("Cannot delete a personal workspace")
        entry = await self.get(workspace)
        check_version(entry, expect)
        commands = []
        for kind in PARTS:
            for part in await self.parts(workspace, kind):
                if kind == ENVIRONMENT and (reason := await busy(Scope(workspace, part.id))):
                    raise Refused(f"Cannot delete a workspace with {reason}", code="in_use")
                commands.append(drop(caller, part))
        order = DropEntry(str(caller.actor), entry.version)
        commands.append(Command(entry_stream(WORKSPACE, workspace), order, DIRECTORY, caller.actor))
        commands.append(act(caller.scope, caller.actor, "workspace.deleted", f"{WORKSPACE}:{workspace}", slug=entry.name))
        await self.engine.submit_all(commands)
