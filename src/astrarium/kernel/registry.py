"""Who is there: machines, kinds of jobs and things, tables and listeners, collected once before the engine starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from ..errors import Bug
from .machine import Machine, index_moves
from .ports import KERNEL_TABLES
from .types import Job, Table, Tombstone


class JobKind(Protocol):
    """How one kind of job is carried out. `claim` is the command applied in the transaction that claims the job, `lose` the one
    for a job whose owner died; None = nothing to be told. `carry_out` returns the command body that reports the result (None = the job
    is just done), at once or as an awaitable."""

    name: str
    leased: bool
    """A claimed job of this kind has no row of its own: the life's state says that it runs and where, and one lease per life and
    worker leads there after a crash. For kinds that are claimed for every step."""

    def place(self, job: Job) -> str:
        """Which of the worker's limited places it occupies; empty = none."""

    def claim(self, job: Job) -> Any | None: ...

    def lose(self, job: Job, begun: bool) -> Any | None: ...

    def carry_out(self, job: Job) -> Any | Awaitable[Any]: ...

    def broke(self, job: Job, error: Exception) -> Any | None:
        """The command that reports an exception out of `carry_out`."""


Listener = Callable[[str, Any], None]
"""Told (stream, event body) after the commit."""


class Known:
    """A machine with what the engine derives from it once."""

    __slots__ = ("decoder", "machine", "moves", "versions")

    def __init__(self, machine: Machine[Any]) -> None:
        self.machine = machine
        self.moves = index_moves(machine.table)
        union: Any = Tombstone
        for event in machine.events:
            union = union | event
        self.decoder = msgspec.json.Decoder(union)
        self.versions = dict(machine.versions)

    def decode(self, type_name: str, v: int, body: bytes) -> Any:
        if v != self.versions.get(type_name, 1):
            body = self.machine.upcast(type_name, v, body)
        return self.decoder.decode(body)


class Registry:
    def __init__(self) -> None:
        self.machines: dict[str, Known] = {}
        self.kinds: dict[str, JobKind] = {}
        self.things: dict[str, Callable[[bytes], Any]] = {}
        self.tables: list[Table] = list(KERNEL_TABLES)
        self.listeners: dict[type, list[Listener]] = {}

    def add_machine(self, machine: Machine[Any]) -> None:
        if machine.name in self.machines:
            raise Bug(f"machine {machine.name} is registered twice")
        self.machines[machine.name] = Known(machine)
        self.tables.extend(made for made in machine.tables if made not in self.tables)

    def add_kind(self, kind: JobKind) -> None:
        if kind.name in self.kinds:
            raise Bug(f"job kind {kind.name} is registered twice")
        self.kinds[kind.name] = kind

    def add_thing(self, kind: str, decode: Callable[[bytes], Any]) -> None:
        """How a thing of this kind is turned into what machines see."""
        self.things[kind] = decode

    def listen(self, event: type, listener: Listener) -> None:
        self.listeners.setdefault(event, []).append(listener)

    def of(self, stream: str) -> Known:
        known = self.machines.get(stream.partition(":")[0])
        if known is None:
            raise Bug(f"no machine for stream {stream}")
        return known
