"""A named limit of an environment: how many claims that name its key may be live at once. Who holds a place is the slot's to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .....errors import NotFound
from .....kernel.machine import Machine, Move
from .....kernel.types import Facts, Row, Scope
from .row import LIMITS

NONE = -1


class SetLimit(msgspec.Struct, frozen=True, tag=True):
    """`most` 0 lets nobody start."""

    most: int


class RemoveLimit(msgspec.Struct, frozen=True, tag=True):
    pass


class LimitSet(msgspec.Struct, frozen=True, tag=True):
    most: int


class LimitRemoved(msgspec.Struct, frozen=True, tag=True):
    pass


class Limit(msgspec.Struct):
    most: int = NONE


class LimitState:
    __slots__ = ("environment", "kept", "key", "touched")

    def __init__(self, stream: str, kept: Limit | None = None) -> None:
        self.environment, _, self.key = stream.partition(":")[2].partition("/")
        self.kept = kept if kept is not None else Limit()
        self.touched = False


class LimitMachine(Machine[LimitState]):
    name = "limit"
    events = (LimitSet, LimitRemoved)
    tables = (LIMITS,)
    table = (
        Move("limit", ("none", "set"), (SetLimit,), LimitSet, ("set",)),
        Move("limit", ("set",), (RemoveLimit,), LimitRemoved, ("none",)),
    )

    def new(self, stream: str, scope: Scope) -> LimitState:
        return LimitState(stream)

    def decide(self, state: LimitState, command: Any, facts: Facts) -> list[Any]:
        if isinstance(command, SetLimit):
            return [] if command.most == state.kept.most else [LimitSet(command.most)]
        if state.kept.most < 0:
            raise NotFound(f"there is no limit {state.key}", code="unknown_limit")
        return [LimitRemoved()]

    def status(self, state: LimitState, event: Any) -> str:
        return "none" if state.kept.most < 0 else "set"

    def evolve(self, state: LimitState, event: Any, at: int) -> None:
        state.kept.most = event.most if isinstance(event, LimitSet) else NONE
        state.touched = True

    def rows(self, state: LimitState) -> Iterable[Row]:
        if not state.touched:
            return ()
        state.touched = False
        return ((LIMITS, (state.environment, state.key, state.kept.most)),)

    def dump(self, state: LimitState) -> bytes:
        return msgspec.json.encode(state.kept)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> LimitState:
        return LimitState(stream, msgspec.json.decode(data, type=Limit))
