"""Carrying a request out once, and giving its answer to those who repeat it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ...errors import Invalid, Problem
from ...kernel.engine import Engine
from ...kernel.machine import Registry
from ...kernel.slots import PlainJob
from ...kernel.types import Command, Job, Scope
from ...web.caller import Caller
from .machines.answer import (
    FORGET_JOB,
    Answer,
    AnswerMachine,
    DropRequest,
    ForgetAnswer,
    KeepAnswer,
    TakeRequest,
    day_before,
    stream_of,
)

HEADER = "idempotency-key"
SCOPE = Scope("requests", "")
"""Where the lives of keys are: a key is its caller's, whatever workspace a request is about."""
REPLAY = {"idempotent-replay": "true"}
OWN_HEADERS = ("content-type", "etag", "location")
"""Headers that belong to an answer; the others are of the exchange."""
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


class Repeats(PlainJob):
    """Of one server. `register`, then the worker opens, then `bind`."""

    name = FORGET_JOB
    _engine: Engine

    def register(self, registry: Registry) -> None:
        registry.add_machine(AnswerMachine())
        registry.add_kind(self)

    def bind(self, engine: Engine) -> None:
        self._engine = engine

    async def once(self, request: Request, caller: Caller, act: Callable[[], Awaitable[Response]]) -> Response:
        """Carry a request out, unless it was: then its answer is given again, for 24 hours. A refusal or a failure is not kept: it
        changed nothing, and may be tried again. Raises `Invalid` for a key that is none, `Refused` when it was used for another
        request (`idempotency_mismatch`) or that one is still under way (`idempotency_under_way`)."""
        key = request.headers[HEADER]
        if not _KEY.fullmatch(key):
            problem = Problem("must have 1 to 128 visible ASCII characters", path="Idempotency-Key")
            raise Invalid(f"Idempotency-Key {problem.message}", [problem])
        name = hashlib.sha256(f"{caller.actor}\n{key}".encode()).hexdigest()[:32]
        stream = stream_of(name, self._engine.clock.now())
        order = TakeRequest(fingerprint(request, await request.body()))
        receipt = await self._engine.submit(Command(stream, order, SCOPE, caller.actor))
        if not receipt.events:
            return await self._again(stream)
        done: Any = DropRequest()
        try:
            answered = await act()
            if answered.status_code < 400:
                headers = tuple((name, answered.headers[name]) for name in OWN_HEADERS if name in answered.headers)
                done = KeepAnswer(answered.status_code, headers, bytes(answered.body))
                await self._engine.submit(Command(stream, done, SCOPE, caller.actor))
            return answered
        finally:
            if isinstance(done, DropRequest):
                self._engine.post(Command(stream, done, SCOPE, caller.actor))

    async def _again(self, stream: str) -> Response:
        for one in (stream, day_before(stream)):
            state: Answer | None = await self._engine.state(one, SCOPE)
            if state is not None and state.kept is not None:
                return Response(state.kept.body, state.kept.status, dict(state.kept.headers) | REPLAY)
        raise Invalid("the answer to this Idempotency-Key is not kept any more", hint="use a new key")

    async def carry_out(self, job: Job) -> None:
        """Forget an answer, and take its life out of the log."""
        await self._engine.submit(Command(job.stream, ForgetAnswer(), SCOPE))
        await self._engine.remove((job.stream,), SCOPE, {}, ())


def fingerprint(request: Request, body: bytes) -> str:
    """What tells a request from others: its route with all it names, and its body."""
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(body)
    return digest.hexdigest()
