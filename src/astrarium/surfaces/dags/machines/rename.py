"""The life of a rename: a DAG file gets another name, and where the DAG's own name follows from it, its runs go along.

What is to be done is durable before the first of it is, and each part can be done again, so a server that dies half way leaves
nothing half done: its successor goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from ....errors import Bug, Refused
from ....kernel.machine import Machine, Move
from ....kernel.types import NOTHING_NEEDED, Effect, Facts, Job, Needs, Scope, SlotAsk, SlotFree, SlotGranted

RENAME_JOB = "rename_dag"
RenameStatus = Literal["new", "begun", "moved", "done", "failed"]


# -- commands ---------------------------------------------------------------------------------------------------------


class RenameDag(msgspec.Struct, frozen=True, tag=True):
    """Paths below the DAG folder, and the names of the DAG's runs before and after; the same name = they stay. `active`: the slot
    that its active runs hold."""

    file: str
    new_file: str
    dag: str
    new_dag: str
    surface: str
    active: str


class NoteMoved(msgspec.Struct, frozen=True, tag=True):
    """The file has its new name."""


class EndRename(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """All is done, or (`problem`) something was not: if the file could not be moved, nothing was done."""

    problem: str = ""


# -- events -----------------------------------------------------------------------------------------------------------


class RenameBegan(msgspec.Struct, frozen=True, tag=True):
    order: RenameDag


class FileMoved(msgspec.Struct, frozen=True, tag=True):
    """From here on clients find the DAG under its new name only."""

    order: RenameDag


class DagRenamed(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """The runs have followed, too; `problem` = not all of them, and why."""

    order: RenameDag
    problem: str = ""


class RenameFailed(msgspec.Struct, frozen=True, tag=True):
    problem: str


EVENTS = (RenameBegan, FileMoved, DagRenamed, RenameFailed)


class Rename(msgspec.Struct):
    """A rename in memory; `began_at` in microseconds: runs made later belong to whoever has the old name by then."""

    id: str = ""
    status: RenameStatus = "new"
    order: RenameDag | None = None
    began_at: int = 0
    problem: str = ""


def file_slot(path: str) -> str:
    return f"dag-file/{path}"


class RenameMachine(Machine[Rename]):
    name = "rename"
    events = EVENTS
    creates = (RenameDag,)
    table = (
        Move("rename", ("new",), (RenameDag,), RenameBegan, ("begun",)),
        Move("rename", ("begun",), (NoteMoved,), FileMoved, ("moved",)),
        Move("rename", ("moved",), (EndRename,), DagRenamed, ("done",)),
        Move("rename", ("begun",), (EndRename,), RenameFailed, ("failed",)),
    )

    def new(self, stream: str, scope: Scope) -> Rename:
        return Rename(stream.partition(":")[2])

    def needs(self, state: Rename, command: Any) -> Needs:
        if type(command) is RenameDag:
            return Needs(slots=(file_slot(command.file), file_slot(command.new_file), command.active))
        if state.order is not None and type(command) is EndRename:
            return Needs(at_hand=(file_slot(state.order.file), file_slot(state.order.new_file)))
        return NOTHING_NEEDED

    def decide(self, state: Rename, command: Any, facts: Facts) -> list[Any]:
        if isinstance(command, RenameDag):
            return begin(state, command, facts)
        if isinstance(command, NoteMoved):
            return [FileMoved(state.order)] if state.status == "begun" and state.order is not None else []
        if isinstance(command, EndRename):
            if state.status == "begun":
                return [RenameFailed(command.problem)]
            return [DagRenamed(state.order, command.problem)] if state.status == "moved" and state.order is not None else []
        if isinstance(command, SlotGranted):
            return []
        raise Bug(f"a rename knows no {type(command).__name__}")

    def status(self, state: Rename, event: Any) -> str:
        return state.status

    def evolve(self, state: Rename, event: Any, at: int) -> None:
        if isinstance(event, RenameBegan):
            state.status, state.order, state.began_at = "begun", event.order, at
        elif isinstance(event, FileMoved):
            state.status = "moved"
        elif isinstance(event, DagRenamed):
            state.status, state.problem = "done", event.problem
        elif isinstance(event, RenameFailed):
            state.status, state.problem = "failed", event.problem

    def react(self, state: Rename, event: Any, at: int) -> Iterable[Effect]:
        if state.order is None or isinstance(event, FileMoved):
            return ()
        slots = (file_slot(state.order.file), file_slot(state.order.new_file))
        if isinstance(event, RenameBegan):
            job = Job(f"rename/{state.id}", RENAME_JOB, f"rename:{state.id}")
            return [*(SlotAsk(name) for name in slots), job]
        return [SlotFree(name) for name in slots]

    def dump(self, state: Rename) -> bytes:
        return msgspec.json.encode(state)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> Rename:
        return msgspec.json.decode(data, type=Rename)

    def ended(self, state: Rename) -> bool:
        return state.status in ("done", "failed")


def begin(state: Rename, command: RenameDag, facts: Facts) -> list[Any]:
    if state.status != "new":
        raise Refused(f"rename {state.id} has begun already")
    for path in (command.file, command.new_file):
        if facts.slots[file_slot(path)].holders:
            raise Refused(f"{path} is being renamed", code="already_exists", hint="wait a moment and look again")
    if facts.slots[command.active].holders:
        hint = "stop its runs, or wait until they have ended"
        raise Refused(f"{command.dag} has an active run, so it cannot be renamed", code="not_running", hint=hint)
    return [RenameBegan(command)]
