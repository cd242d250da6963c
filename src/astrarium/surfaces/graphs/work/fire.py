"""Starting runs of graphs on behalf of triggers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

from ....errors import Conflict, Invalid, NotFound, Refused
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.machine import Registry
from ....kernel.slots import PlainJob
from ....kernel.types import Actor, Command, Job, Receipt
from ....web.caller import PERSONAL
from ..desk import Desk, placed
from ..machines.cron import FIRE_JOB, CronMachine, CronState, FireCron, SetCron, is_missed
from ..trigger import Triggers, Webhook

log = logging.getLogger("astrarium.graphs")
CRON = "graphcron"


class FireGraph(PlainJob):
    """A time of a cron trigger has come. A job that comes due before `bind`, as after a restart, waits for it. Servers alone fire:
    `place` is theirs."""

    name = FIRE_JOB

    def __init__(self, place: str) -> None:
        self._place = place
        self._desk: asyncio.Future[Desk] | None = None

    def place(self, job: Job) -> str:
        return self._place

    def bind(self, desk: Desk) -> None:
        self._bound().set_result(desk)

    def _bound(self) -> asyncio.Future[Desk]:
        if self._desk is None:
            self._desk = asyncio.get_running_loop().create_future()
        return self._desk

    async def carry_out(self, job: Job) -> Any:
        desk = await self._bound()
        engine, slot = desk.engine, int(job.body["slot"])
        state: CronState | None = await engine.state(job.stream, PERSONAL)
        if state is None or state.plan is None or state.next != slot:
            return None
        if is_missed(state.plan, slot, engine.clock.now()):
            return FireCron(slot, why="missed")
        trigger = job.stream.partition(":")[2]
        at = datetime.fromtimestamp(slot / 1_000_000, UTC).isoformat()
        key = hashlib.sha256(f"{trigger}|{at}".encode()).hexdigest()
        try:
            begun = await desk.begin(PERSONAL, Actor("cron", trigger), state.plan.graph_id, state.plan.params, key, "cron")
        except (NotFound, Invalid, Conflict, Refused) as error:
            log.warning("cron trigger %s starts nothing: %s", trigger, error)
            return FireCron(slot, why=error.message[:300])
        return FireCron(slot, begun.run)


def register_triggers(registry: Registry, place: str) -> FireGraph:
    """Whoever works on a store must know the lives and jobs it may find there."""
    made = FireGraph(place)
    registry.add_machine(CronMachine())
    registry.add_kind(made)
    return made


async def set_crons(engine: Engine, triggers: Triggers) -> None:
    """Let the crons be as the file has them; those that are gone from it fire no more."""
    wanted = {one.id: one.plan for one in triggers.cron}
    rows = await engine.store.read("SELECT DISTINCT stream FROM jobs WHERE kind = ?", (FIRE_JOB,))
    for name in dict.fromkeys([*wanted, *(stream.partition(":")[2] for (stream,) in rows)]):
        await engine.submit(Command(f"{CRON}:{name}", SetCron(wanted.get(name)), PERSONAL, Actor("file", "triggers")))


class Answered(msgspec.Struct, frozen=True):
    """How a call of a webhook is answered: `detail` of a refusal, else the key of the run that was begun."""

    status: int
    detail: str = ""
    key: str = ""


class Webhooks:
    """Calls of strangers who know a secret."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def take(self, hook: Webhook, signature: str | None, stamp: str | None, body: bytes) -> Answered:
        """Check a call and start a run. The signature is the lower-case hex HMAC-SHA256 of `<unix time>.<body>`."""
        now = self._desk.engine.clock.now() // 1_000_000
        if not signature or not stamp:
            return Answered(401, "missing_headers")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 13):
            return Answered(401, "invalid_timestamp")
        if abs(now - int(stamp)) > hook.timestamp_window_seconds:
            return Answered(401, "timestamp_out_of_window")
        if not is_signed(hook, signature, stamp, body):
            await self._audit(hook, stamp)
            return Answered(401, "invalid_signature")
        try:
            params = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            return Answered(400, f"invalid_body_json: {error}")
        if not isinstance(params, dict):
            return Answered(400, "body_not_json_object")
        if not await self._is_new(hook, signature, stamp):
            return Answered(409, "duplicate_nonce")
        key = hashlib.sha256(f"{hook.id}|{hashlib.sha256(body).hexdigest()}".encode()).hexdigest()
        with placed("state", "body"):
            await self._desk.begin(PERSONAL, Actor("webhook", hook.id), hook.graph_id, params, key, "webhook")
        return Answered(200, key=key)

    async def _is_new(self, hook: Webhook, signature: str, stamp: str) -> bool:
        """Whether this very call was not made before, of whatever server: the call is recorded under a key."""
        nonce = hashlib.sha256(f"{hook.id}|{signature}|{stamp}".encode()).hexdigest()
        told = act(PERSONAL, Actor("webhook", hook.id), "webhook.called", hook.path, trigger=hook.id)
        receipt: Receipt = await self._desk.engine.submit(msgspec.structs.replace(told, key=f"v1/nonces/{nonce}"))
        return not receipt.replayed

    async def _audit(self, hook: Webhook, stamp: str) -> None:
        detail = {"trigger": hook.id, "timestamp": stamp, "path": hook.path}
        await self._desk.engine.submit(act(PERSONAL, Actor("webhook", hook.id), "webhook_signature_invalid", hook.path, **detail))


def is_signed(hook: Webhook, signature: str, stamp: str, body: bytes) -> bool:
    """By the current secret or the one before it, in constant time."""
    good = False
    for secret in (hook.current_secret, hook.previous_secret):
        if secret:
            wanted = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            good |= hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace"))
    return good
