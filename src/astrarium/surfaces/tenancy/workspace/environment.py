"""Environments of a workspace, with their API keys and target roots. One entry serves the build registry and releases alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ....errors import Forbidden, Invalid, NotFound, Refused
from ....kernel.audit import act
from ....kernel.record.entry import Entry, check_version, entry_stream, find_handle, list_entries, read_entry
from ....kernel.types import Command, Scope
from ....spec.ids import uuid7
from ....web.caller import EVERYTHING, PERSONAL, Caller
from ..catalog import KEY, KEY_NAME_MAX, Keys, check_label, key_body
from ..role import WORKSPACE_ROLES, capabilities_in
from .body import (
    ENVIRONMENT,
    ROOT,
    TITLE_MAX,
    URI_MAX,
    EnvironmentBody,
    RootBody,
    check_count,
    check_slug,
    check_text,
    environment_body,
    root_body,
    root_name,
)
from .directory import Directory, drop, in_words, put

ACTIVE = "SELECT 1 FROM runs WHERE workspace = ? AND environment = ? AND status <> 'ended' LIMIT 1"
ROOT_TAKEN = "Target root with name '{}' already exists"

Busy = Callable[[Scope], Awaitable[str]]
"""What still goes on in an environment, in words that follow "Cannot delete an environment with"; empty = nothing."""


class Environments:
    """The environments of the workspace a caller entered. Surfaces add to `busy` what keeps one from being deleted."""

    def __init__(self, directory: Directory, keys: Keys) -> None:
        self._directory = directory
        self._engine = directory.engine
        self._keys = keys
        self.busy: list[Busy] = [self._running]

    async def _running(self, scope: Scope) -> str:
        found = await self._engine.store.read(ACTIVE, (scope.workspace, scope.environment))
        return "runs that have not ended" if found else ""

    async def in_use(self, scope: Scope) -> str:
        """What still goes on in an environment; empty when nothing does."""
        for busy in self.busy:
            reason = await busy(scope)
            if reason:
                return reason
        return ""

    async def all(self, workspace: str) -> list[Entry]:
        """In their order."""
        found = await self._directory.parts(workspace, ENVIRONMENT)
        return sorted(found, key=lambda entry: environment_body(entry).order_index)

    async def get(self, workspace: str, id_: str) -> Entry:
        """Raises `NotFound`."""
        entry = await read_entry(self._engine.store, workspace, ENVIRONMENT, id_)
        if entry is None:
            raise NotFound("Environment not found")
        return entry

    async def enter(self, caller: Caller, id_: str) -> Caller:
        """The caller as they are in an environment of any workspace of theirs. Raises `NotFound`, in the same words and by the same
        queries whether it is another's or there is none."""
        theirs = {workspace.id for workspace, _ in await self._directory.mine(caller)}
        for entry in await find_handle(self._engine.store, ENVIRONMENT, id_):
            if entry.workspace in theirs:
                entered = await self._directory.enter(caller, entry.workspace)
                return msgspec.structs.replace(entered, scope=Scope(entry.workspace, id_))
        raise NotFound("Environment not found")

    async def create(self, caller: Caller, title: str, slug: str, description: str | None) -> Entry:
        """Make an environment, the last in order. Raises `Invalid`, `Forbidden`, `Refused`."""
        check_label(title, "name", TITLE_MAX)
        check_slug(slug)
        check_text(description)
        id_, most = uuid7(), self._directory.settings.max_environments

        async def plan(home: Entry) -> list[Command]:
            others = [environment_body(entry).order_index for entry in await self.all(caller.scope.workspace)]
            if most and len(others) >= most:
                raise Forbidden(f"Workspace can have at most {most} environments")
            body = EnvironmentBody(title, description, max(others, default=-1) + 1)
            return [
                put(caller.scope, caller, ENVIRONMENT, id_, slug, body, handle=id_),
                act(caller.scope, caller.actor, "environment.created", f"{ENVIRONMENT}:{id_}", slug=slug),
            ]

        with in_words("Environment slug already exists in this workspace"):
            await self._directory.arrange(caller, plan)
        return await self.get(caller.scope.workspace, id_)

    async def change(
        self, caller: Caller, id_: str, title: str | None, description: str | None, expect: int | None = None,
        *, max_locks: int | None = None,
    ) -> Entry:  # fmt: skip
        """`expect`: the version it must have. Raises `Invalid`, `NotFound`, `Conflict`."""
        entry = await self.get(caller.scope.workspace, id_)
        body = environment_body(entry)
        title = check_label(title, "name", TITLE_MAX) if title is not None else body.title
        description = check_text(description) if description is not None else body.description
        locks = check_count(max_locks, "max_concurrent_locks") if max_locks is not None else body.max_concurrent_locks
        body = msgspec.structs.replace(body, title=title, description=description, max_concurrent_locks=locks)
        commands = (
            put(
                caller.scope, caller, ENVIRONMENT, id_, entry.name, body, handle=id_,
                expect=entry.version if expect is None else expect,
            ),
            act(caller.scope, caller.actor, "environment.changed", f"{ENVIRONMENT}:{id_}", name=title),
        )
        await self._engine.submit_all(commands)
        return await self.get(caller.scope.workspace, id_)

    async def delete(self, caller: Caller, id_: str, expect: int | None = None) -> None:
        """End an environment with its keys and target roots. Raises `NotFound`, `Conflict` where it has another version than `expect`;
        `Invalid` for the last one and for the one the server's own work lands in; `Refused` while something goes on in it."""
        workspace = caller.scope.workspace

        async def plan(home: Entry) -> list[Command]:
            entry = await self.get(workspace, id_)
            check_version(entry, expect)
            if len(await self.all(workspace)) == 1:
                raise Invalid("Cannot delete the last environment")
            if Scope(workspace, id_) == PERSONAL:
                raise Invalid("Cannot delete the environment this server's own work lands in")
            reason = await self.in_use(Scope(workspace, id_))
            if reason:
                raise Refused(f"Cannot delete an environment with {reason}", code="in_use")
            kept = [*await self._directory.parts(workspace, KEY), *await self._directory.parts(workspace, ROOT)]
            return [
                *(drop(caller, part) for part in kept if part.body.get("environment") == id_),
                drop(caller, entry),
                act(caller.scope, caller.actor, "environment.deleted", f"{ENVIRONMENT}:{id_}", slug=entry.name),
            ]

        await self._directory.arrange(caller, plan)

    # -- API keys -------------------------------------------------------------------------------------------------------

    async def keys(self, workspace: str, environment: str, *, revoked: bool = False) -> list[Entry]:
        """The keys of an environment, the newest first."""
        found = await list_entries(self._engine.store, workspace, KEY, dropped=revoked)
        mine = [entry for entry in found if key_body(entry).environment == environment]
        return sorted(mine, key=lambda entry: (entry.created_at, entry.id), reverse=True)

    async def create_key(self, caller: Caller, environment: str, label: str, role: str = "member") -> tuple[Entry, str]:
        """A key that acts in one environment, as a member or in a role of ours that may not do more than the caller may; and its text,
        which nobody can read again. Several may have one name. Raises `Invalid`, `Forbidden`, `NotFound`."""
        check_label(label, "name", KEY_NAME_MAX)
        given = WORKSPACE_ROLES.get(role, role)
        more = capabilities_in(caller.scope.workspace, given) - caller.capabilities
        if more and caller.capabilities is not EVERYTHING:
            raise Forbidden(f"{caller.shown} may not give a key the role {role}: they lack {', '.join(sorted(more))}")
        workspace, id_ = caller.scope.workspace, uuid7()
        order, text = self._keys.draft(Scope(workspace, environment), caller.actor, "", given, label=label)

        async def plan(home: Entry) -> list[Command]:
            await self.get(workspace, environment)
            return [
                Command(entry_stream(KEY, id_), order, caller.scope, caller.actor),
                act(caller.scope, caller.actor, "key.created", f"{KEY}:{id_}", name=label, role=given, environment=environment),
            ]

        await self._directory.arrange(caller, plan)
        return await self._keys.get(caller, id_), text

    async def revoke_key(self, caller: Caller, environment: str, id_: str) -> None:
        """Raises `NotFound`."""
        await self.get(caller.scope.workspace, environment)
        entry = await read_entry(self._engine.store, caller.scope.workspace, KEY, id_)
        if entry is None or key_body(entry).environment != environment:
            raise NotFound("API key not found")
        await self._keys.drop(caller, id_)

    # -- target roots ---------------------------------------------------------------------------------------------------

    async def roots(self, workspace: str, environment: str) -> list[Entry]:
        return [entry for entry in await self._directory.parts(workspace, ROOT) if root_body(entry).environment == environment]

    async def root(self, workspace: str, environment: str, id_: str) -> Entry:
        """Raises `NotFound`."""
        await self.get(workspace, environment)
        entry = await read_entry(self._engine.store, workspace, ROOT, id_)
        if entry is None or root_body(entry).environment != environment:
            raise NotFound("Target root not found")
        return entry

    async def create_root(self, caller: Caller, environment: str, label: str, uri_prefix: str) -> Entry:
        """Raises `Invalid`, `NotFound`, `Refused`."""
        body, id_ = _root(environment, label, uri_prefix), uuid7()

        async def plan(home: Entry) -> list[Command]:
            await self.get(caller.scope.workspace, environment)
            return [
                put(caller.scope, caller, ROOT, id_, root_name(environment, label), body),
                act(caller.scope, caller.actor, "target_root.created", f"{ROOT}:{id_}", name=label),
            ]

        with in_words(ROOT_TAKEN.format(label)):
            await self._directory.arrange(caller, plan)
        return await self.root(caller.scope.workspace, environment, id_)

    async def change_root(
        self, caller: Caller, environment: str, id_: str, label: str | None, uri_prefix: str | None, expect: int | None = None
    ) -> Entry:
        """`expect`: the version it must have. Raises `Invalid`, `NotFound`, `Refused`, `Conflict`."""
        entry = await self.root(caller.scope.workspace, environment, id_)
        was = root_body(entry)
        body = _root(environment, was.label if label is None else label, was.uri_prefix if uri_prefix is None else uri_prefix)
        name = root_name(environment, body.label)
        commands = (
            put(caller.scope, caller, ROOT, id_, name, body, expect=entry.version if expect is None else expect),
            act(caller.scope, caller.actor, "target_root.changed", f"{ROOT}:{id_}", name=body.label),
        )
        with in_words(ROOT_TAKEN.format(body.label)):
            await self._engine.submit_all(commands)
        return await self.root(caller.scope.workspace, environment, id_)

    async def delete_root(self, caller: Caller, environment: str, id_: str, expect: int | None = None) -> None:
        """Raises `NotFound`, `Conflict`."""
        entry = await self.root(caller.scope.workspace, environment, id_)
        check_version(entry, expect)
        told = act(caller.scope, caller.actor, "target_root.deleted", f"{ROOT}:{id_}", name=root_body(entry).label)
        await self._engine.submit_all((drop(caller, entry), told))


def _root(environment: str, label: str, uri_prefix: str) -> RootBody:
    return RootBody(environment, check_label(label, "name", TITLE_MAX), check_label(uri_prefix, "uri_prefix", URI_MAX))
