"""The life of one key of one caller on one day: taken by a request, then holding its answer, forgotten two days later.

A key counts for 24 hours, so a life asks for the one of the day before as well. A request whose server died leaves its key taken; the
next one may have it after a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ....errors import Conflict, Refused
from ....kernel.machine import Machine, Move
from ....kernel.types import Effect, Facts, Job, Needs, Scope

SECOND = 1_000_000
DAY_US = 86_400 * SECOND
LEASE_US = 60 * SECOND
"""How long a request may hold a key without an answer."""
FORGET_JOB = "forget_answer"


class TakeRequest(msgspec.Struct, frozen=True, tag=True):
    """Let this request have the key; `fingerprint` tells it from others. Nothing happens where its answer is kept."""

    fingerprint: str


class KeepAnswer(msgspec.Struct, frozen=True, tag=True):
    """`headers` are name and value of those that belong to the answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class DropRequest(msgspec.Struct, frozen=True, tag=True):
    """The request was refused or broke: the key is free."""


class ForgetAnswer(msgspec.Struct, frozen=True, tag=True):
    """The key's time is over."""


class RequestTaken(msgspec.Struct, frozen=True, tag=True):
    fingerprint: str
    at: int


class AnswerKept(msgspec.Struct, frozen=True, tag=True):
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class RequestDropped(msgspec.Struct, frozen=True, tag=True):
    pass


class AnswerForgotten(msgspec.Struct, frozen=True, tag=True):
    pass


class Answer(msgspec.Struct):
    """A key as it is. `status`: new, taken, kept, free or forgotten."""

    stream: str
    status: str = "new"
    fingerprint: str = ""
    taken_at: int = 0
    kept: AnswerKept | None = None

    def holds(self, now: int) -> bool:
        """Whether the key is in use."""
        return self.status in ("taken", "kept") and now - self.taken_at < DAY_US


def stream_of(name: str, now: int) -> str:
    """The life of a key at this time."""
    return f"answer:{name}/{now // DAY_US}"


def day_before(stream: str) -> str:
    """The life of the same key on the day before."""
    name, _, day = stream.rpartition("/")
    return f"{name}/{int(day) - 1}"


class AnswerMachine(Machine[Answer]):
    """A key that was forgotten stays so: the next day's is another life."""

    name = "answer"
    events = (RequestTaken, AnswerKept, RequestDropped, AnswerForgotten)
    table = (
        Move("key", ("new", "free", "taken"), (TakeRequest,), RequestTaken, ("taken",)),
        Move("key", ("taken",), (KeepAnswer,), AnswerKept, ("kept",)),
        Move("key", ("taken",), (DropRequest,), RequestDropped, ("free",)),
        Move("key", ("free", "taken", "kept"), (ForgetAnswer,), AnswerForgotten, ("forgotten",)),
    )

    def new(self, stream: str, scope: Scope) -> Answer:
        return Answer(stream)

    def needs(self, state: Answer, command: Any) -> Needs:
        return Needs(streams=(day_before(state.stream),)) if isinstance(command, TakeRequest) else Needs()

    def decide(self, state: Answer, command: Any, facts: Facts) -> list[Any]:
        if isinstance(command, TakeRequest):
            return self._take(state, command, facts)
        if isinstance(command, ForgetAnswer):
            return [] if state.status in ("new", "forgotten") else [AnswerForgotten()]
        if state.status != "taken":
            raise Conflict("the request does not hold its key any more")
        return (
            [RequestDropped()]
            if isinstance(command, DropRequest)
            else [AnswerKept(command.status, command.headers, command.body)]
        )

    def _take(self, state: Answer, command: TakeRequest, facts: Facts) -> list[Any]:
        if state.status == "forgotten":
            raise Conflict("the key was forgotten", hint="use another")
        for known in (state, facts.streams.get(day_before(state.stream))):
            if known is None or not known.holds(facts.now):
                continue
            if known.fingerprint != command.fingerprint:
                raise Refused(
                    "this Idempotency-Key was used for another request",
                    code="idempotency_mismatch",
                    hint="use a new key for each",
                )
            if known.status == "kept":
                return []
            if facts.now - known.taken_at < LEASE_US:
                raise Refused("a request with this Idempotency-Key is still under way", code="idempotency_under_way",
                              hint="repeat it in a moment")  # fmt: skip
        return [] if state.status == "kept" else [RequestTaken(command.fingerprint, facts.now)]

    def status(self, state: Answer, event: Any) -> str:
        return state.status

    def evolve(self, state: Answer, event: Any, at: int) -> None:
        if isinstance(event, RequestTaken):
            state.status, state.fingerprint, state.taken_at = "taken", event.fingerprint, event.at
        elif isinstance(event, AnswerKept):
            state.status, state.kept = "kept", event
        else:
            state.status, state.kept = "free" if isinstance(event, RequestDropped) else "forgotten", None

    def react(self, state: Answer, event: Any, at: int) -> Iterable[Effect]:
        if isinstance(event, RequestTaken):
            return [Job(f"{state.stream}/forget", FORGET_JOB, state.stream, {}, event.at + 2 * DAY_US)]
        return ()

    def ended(self, state: Answer) -> bool:
        return state.status == "forgotten"

    def dump(self, state: Answer) -> bytes:
        return msgspec.json.encode(state)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> Answer:
        return msgspec.json.decode(data, type=Answer)
