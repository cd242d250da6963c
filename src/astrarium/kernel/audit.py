"""The second log: acts, hash-chained per workspace, kept when the event log is pruned.

An act is a command to the life `audit:<workspace>`; its row in the table `audit` is the record. Each record's hash covers the
record and the hash before it, so a removed or altered record breaks the chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from .machine import Machine, Move
from .ports import AUDIT
from .types import Actor, Command, Facts, Row, Scope

GENESIS = "0" * 64


class RecordAct(msgspec.Struct, frozen=True, tag=True):
    """Who (`actor`) did what (`act`) to what (`subject`). `detail` must be free of secrets."""

    actor: str
    act: str
    subject: str
    detail: dict[str, Any] = {}


class ActRecorded(msgspec.Struct, frozen=True, tag=True):
    number: int
    at: int
    actor: str
    act: str
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str


class Chain:
    """The end of a workspace's chain."""

    __slots__ = ("hash", "number", "unwritten", "workspace")

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self.number = 0
        self.hash = GENESIS
        self.unwritten: list[ActRecorded] = []


def record_hash(number: int, at: int, actor: str, act: str, subject: str, detail: dict[str, Any], previous: str) -> str:
    """SHA-256 over the canonical JSON of a record and the hash of the one before."""
    data = msgspec.json.encode([number, at, actor, act, subject, detail, previous], order="sorted")
    return hashlib.sha256(data).hexdigest()


class AuditLog(Machine[Chain]):
    """A life that only grows."""

    name = "audit"
    events = (ActRecorded,)
    tables = (AUDIT,)
    table = (Move("log", ("open",), (RecordAct,), ActRecorded, ("open",)),)

    def new(self, stream: str, scope: Scope) -> Chain:
        return Chain(scope.workspace)

    def decide(self, state: Chain, command: Any, facts: Facts) -> list[Any]:
        number = state.number + 1
        digest = record_hash(
            number, facts.now, command.actor, command.act, command.subject, command.detail, state.hash
        )
        return [
            ActRecorded(
                number, facts.now, command.actor, command.act, command.subject, command.detail, state.hash, digest
            )
        ]

    def status(self, state: Chain, event: Any) -> str:
        return "open"

    def evolve(self, state: Chain, event: Any, at: int) -> None:
        state.number = event.number
        state.hash = event.hash
        state.unwritten.append(event)

    def rows(self, state: Chain) -> Iterable[Row]:
        events, state.unwritten = state.unwritten, []
        for event in events:
            detail = msgspec.json.encode(event.detail).decode()
            yield (
                AUDIT,
                (state.workspace, event.number, event.at, event.actor, event.act, event.subject, detail, event.previous, event.hash),
            )

    def dump(self, state: Chain) -> bytes:
        return msgspec.json.encode([state.number, state.hash])

    def load(self, stream: str, scope: Scope, data: bytes, things: Any) -> Chain:
        state = Chain(scope.workspace)
        state.number, state.hash = msgspec.json.decode(data)
        return state


def act(scope: Scope, actor: Actor, what: str, subject: str, **detail: Any) -> Command:
    """The command that records an act."""
    return Command(f"audit:{scope.workspace}", RecordAct(str(actor), what, subject, detail), scope, actor)


def verify_chain(records: Iterable[tuple[Any, ...]]) -> int | None:
    """The number of the first record (rows of `audit` in order, `detail` decoded) that does not fit the chain; None = intact."""
    previous = GENESIS
    expected = 1
    for _, number, at, actor, what, subject, detail, before, digest in records:
        intact = number == expected and before == previous
        if not intact or record_hash(number, at, actor, what, subject, detail, before) != digest:
            return int(number)
        previous = digest
        expected += 1
    return None
