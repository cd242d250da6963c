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


def _keepable(text: str) -> str:
    """What every store keeps as it is: one that mended a text would break the chain."""
    return text.replace("\0", "\ufffd")


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
        actor, what, subject = (_keepable(text) for text in (command.actor, command.act, command.subject))
        digest = record_hash(number, facts.now, actor, what, subject, command.detail, state.hash)
        return [ActRecorded(number, facts.now, actor, what, subject, command.detail, state.hash, digest)]

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


class ChainCheck:
    """Follows one workspace's chain. `number` and `hash` are of the last record that fits; a check may begin after a record whose
    hash is known, or (`hash` empty) is not."""

    __slots__ = ("hash", "number")

    def __init__(self, number: int = 0, hash: str = GENESIS) -> None:
        self.number = number
        self.hash = hash

    def flaw(self, number: Any, at: Any, actor: str, what: str, subject: str, detail: Any, previous: str, digest: str) -> str:
        """Why the next record (`detail` decoded) does not fit, empty when it does. After a flaw the check stays where it is."""
        if number != self.number + 1:
            return f"record {self.number + 1} is missing: record {number} stands in its place"
        if self.hash and previous != self.hash:
            return f"record {number} does not follow record {self.number}: one of them was replaced"
        if record_hash(number, at, actor, what, subject, detail, previous) != digest:
            return f"record {number} was altered: its content does not give its hash"
        self.number, self.hash = number, digest
        return ""


def verify_chain(records: Iterable[tuple[Any, ...]]) -> int | None:
    """The number of the first record (rows of `audit` in order, `detail` decoded) that does not fit the chain; None = intact."""
    check = ChainCheck()
    for _, *record in records:
        if check.flaw(*record):
            return int(record[0])
    return None
