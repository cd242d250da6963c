"""A run's log as frames: one event gives none or several, of 16 types (Stargraph 0.8: contract 3.1), each with its place in the run's own
count (`seq`). Runs of DAGs are told by the same door: their steps as `step_started` and `step_ended`.

A frame is made by folding the log, so whoever reads it from the start counts alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ....kernel.types import Event, Tombstone
from ....runs import message as m
from ....runs.past.read import fold
from ....runs.routing.port import Chose, Close, Fan, MoveOn, Question, Ruled, Visit
from ....runs.state import RunState, Step
from ....spec.ir.hash import content_hash
from .run import masked, shown_time
from .status import ENDS

PACK, PACK_VERSION = "stargraph.runtime", "1.0"
AUDIT_PACK = "stargraph.bosun.audit"
WENT_WRONG = frozenset(("failed", "broken", "timed_out", "lost", "rejected"))
STOPS = {
    "user": "user", "stopped": "user", "timed_out": "timeout", "budget_exhausted": "timeout", "server_stop": "shutdown",
    "shutdown": "shutdown",
}  # fmt: skip


class Told(NamedTuple):
    """One frame: its type, the step (place and branch) it is about, and its own fields."""

    type: str
    fields: dict[str, Any]
    step: int
    branch: str | None = None


class Narration:
    """Tells one run. `alias` is what clients know it by; `source` the run as it is now, for its definition and for what is left when its
    log was pruned."""

    def __init__(self, alias: str, source: RunState) -> None:
        self.alias = alias
        self._source = source
        self._state = RunState(run=source.run, scope=source.scope, known=source.known)
        self._strategy = ""
        self._bad = False
        self._why = ""
        self.seq = -1
        """Of the last frame."""

    def tell(self, event: Event) -> list[dict[str, Any]]:
        """The frames of the next event."""
        ts, made = shown_time(event.at), []
        for number, one in enumerate(self._told(event)):
            self.seq += 1
            made.append({
                "type": one.type, "run_id": self.alias, "step": one.step, "branch_id": one.branch, "ts": ts, "payload": {}, **one.fields,
                "event_id": f"{self._state.run}.{event.seq}.{number}", "seq": self.seq, "offset": 0,
            })  # fmt: skip
        return made

    def _told(self, event: Event) -> list[Told]:
        body = event.body
        if type(body) is Tombstone:
            return list(self._pruned())
        before, after = BEFORE.get(type(body)), AFTER.get(type(body))
        told = list(before(self, body, event)) if before is not None else []
        fold(self._state, body, event.at)
        if after is not None:
            told += after(self, body, event)
        return told

    # -- common ground ------------------------------------------------------------------------------------------------

    @property
    def run(self) -> str:
        return self._state.run

    @property
    def created_at(self) -> int:
        return self._source.created_at

    @property
    def at(self) -> int:
        """The place the run has come to."""
        return max((step.place for step in self._state.steps.values()), default=0)

    def step(self, no: int) -> tuple[Step, str, str]:
        """(step, its node's name and kind)"""
        step = self._state.steps[no]
        node = self._state.known.nodes[step.node]
        return step, node.name, node.kind

    def name(self, node: int) -> str:
        return self._state.known.nodes[node].name if node >= 0 else ""

    def audit(self, kind: str, event: Event, origin: str = "system", **more: Any) -> Told:
        at = self.at
        fact = {"kind": kind, "actor": event.actor, "run_id": self.alias, **more}
        provenance = {
            "origin": origin, "source": event.actor, "run_id": self.alias, "step": at, "confidence": 1,
            "timestamp": shown_time(event.at),
        }  # fmt: skip
        return Told(
            "bosun_audit", {"pack_id": PACK, "pack_version": PACK_VERSION, "fact": fact, "provenance": provenance}, at
        )

    def packed(self, kind: str, event: Event, step: int, **detail: Any) -> Iterator[Told]:
        """A record for the packs that want to know of acts of this kind."""
        policy = self._state.known.policy
        if kind in policy.audited:
            told = self.audit("bosun.audit", event)
            version = dict(policy.packs).get(AUDIT_PACK, "")
            fact = {"kind": kind, "run_id": self.alias, "step": step, "detail": detail}
            yield Told(told.type, {**told.fields, "pack_id": AUDIT_PACK, "pack_version": version, "fact": fact}, step)

    def ruled(self, moves: tuple[MoveOn, ...], event: Event, step: int, branch: str | None = None) -> Iterator[Told]:
        """What packs want to have recorded of a decision."""
        versions = dict(self._state.known.policy.packs)
        for move in moves:
            for record in move.audit if type(move) is Ruled else ():
                told, pack = self.audit("bosun.audit", event, "rule"), record["pack"] or PACK
                fact = {"run_id": self.alias, "step": step, **record["fact"]}
                more = {"pack_id": pack, "pack_version": versions.get(pack, PACK_VERSION), "fact": fact}
                yield Told(told.type, {**told.fields, **more}, step, branch)

    def result(self, status: str, at: int) -> Told:
        state = self._state
        final = state.document if state.known.shape is not None else {"outputs": dict(outputs_of(state))}
        return Told(
            "result", {"status": status, "final_state": final, "run_duration_ms": max(0, at - state.created_at) // 1000}, self.at
        )

    def _pruned(self) -> Iterator[Told]:
        self._state = self._source
        if self._source.status == "ended":
            yield self.result(ENDS[self._source.outcome or "failed"], self._source.ended_at)

    # -- steps --------------------------------------------------------------------------------------------------------

    def fanned(self, moves: tuple[MoveOn, ...]) -> Iterator[Told]:
        """Branches that are begun by these moves."""
        for move in moves:
            if type(move) is Fan:
                self._strategy = f"quorum:{move.quorum}" if move.strategy == "quorum" else move.strategy
            elif type(move) is Visit and move.branch:
                place = move.no if move.at < 0 else move.at
                yield Told("branch_started", {"target": self.name(move.node), "strategy": self._strategy}, place, move.branch)

    def began(self, body: Any, event: Event) -> Iterator[Told]:
        self._why = next((move.reason for move in body.moves if type(move) is Chose and move.kind == "fail"), "")
        yield from self.ruled(body.moves, event, self.at)
        yield from self.fanned(body.moves)

    def started(self, body: m.StepStarted, event: Event) -> Iterator[Told]:
        if self._state.known.shape is None:
            step, name, kind = self.step(body.no)
            yield Told("step_started", {"node": name, "kind": kind, "try": step.try_no}, step.place)

    def delayed(self, body: m.StepDelayed, event: Event) -> Iterator[Told]:
        step, name, _ = self.step(body.no)
        if body.why != "repeat":
            fields = {"scope": "node", "message": masked(body.error or body.why), "recoverable": True, "node": name}
            yield Told("error", fields, step.place, step.branch or None)

    def asked(self, body: m.StepAsked, event: Event) -> Iterator[Told]:
        step, name, _ = self.step(body.no)
        ask = body.ask
        fields = {
            "prompt": ask.prompt,
            "interrupt_payload": ask.payload,
            "requested_capability": ask.capability or None,
            "node": name,
        }
        yield Told("waiting_for_input", fields, step.place, step.branch or None)

    def answered(self, body: m.AnswerGiven, event: Event) -> Iterator[Told]:
        yield self.audit("respond", event, "user", actor=body.by, body_hash=content_hash(body.answer), approve=body.approve)
        yield from self.packed("respond", event, self.at, actor=body.by)

    def ended(self, body: m.StepEnded, event: Event) -> Iterator[Told]:
        """Before the end is folded: what is told of the step itself, its move and its checkpoint."""
        step, name, kind = self.step(body.no)
        branch = step.branch or None
        self._bad, self._why = body.outcome in WENT_WRONG, body.error
        if body.code == "interrupt_timeout":
            yield Told("interrupt_timeout", {"on_timeout": f"goto:{body.goto}" if body.goto else "halt"}, step.place, branch)
        elif self._bad:
            goes_on = not any(type(move) is Close for move in body.moves)
            scope, message = "tool" if kind == "tool" else "node", masked(body.error or body.outcome)
            fields = {"scope": scope, "message": message, "recoverable": goes_on, "code": body.code, "node": name}
            yield Told("error", fields, step.place, branch)
        if self._state.known.shape is None:
            yield Told("step_ended", {"node": name, "kind": kind, "outcome": body.outcome, "output": body.output}, step.place)
            return
        if branch and body.outcome == "cancelled":
            yield Told("branch_cancelled", {"reason": "cancelled"}, step.place, branch)
            return
        if branch:
            ended = "branch_cancelled" if self._bad else "branch_completed"
            yield Told(ended, {"reason": "error"} if self._bad else {"result": body.patch or {}}, step.place, branch)
        gives_up = self._bad and not branch and any(type(move) is Close for move in body.moves)
        moved = {} if gives_up else self.moved(name, body.moves)
        if moved:
            yield Told("transition", moved, step.place, None if moved.pop("joined", False) else branch)
        yield Told(
            "checkpoint", {"checkpoint_id": f"{self.alias}/{step.place}{'/' + branch if branch else ''}"}, step.place, branch
        )
        yield from self.packed("node_run", event, step.place, node=name, outcome=body.outcome)
        yield from self.ruled(body.moves, event, step.place, branch)
        if moved:
            yield from self.packed("transition", event, step.place, **moved)
        yield from self.fanned(body.moves)

    def moved(self, name: str, moves: tuple[MoveOn, ...]) -> dict[str, Any]:
        """A transition's fields; empty where nothing was decided yet: other branches are open."""
        chose = next((move for move in moves if type(move) is Chose), None)
        to, reason, rule, ends = "", "", "", False
        for move in moves:
            if type(move) is Visit and not reason:
                to, reason = self.name(move.node), "continue"
            elif type(move) is Fan:
                to, reason = self.name(move.targets[0]) if move.targets else "", "parallel"
            elif type(move) is Question:
                reason = "interrupt"
            elif type(move) is Close:
                ends = True
        if not reason and not ends:
            return {}
        if chose is not None:
            rule = chose.rule
            reason = "halt" if chose.kind == "fail" else "continue" if chose.kind == "join" else chose.kind
        joined = any(type(move).__name__ == "Merge" for move in moves)
        return {"from_node": name, "to_node": to, "rule_id": rule, "reason": reason or "halt", "joined": joined}

    def dropped(self, body: m.StepDropped, event: Event) -> Iterator[Told]:
        step, _, _ = self.step(body.no)
        yield Told("branch_cancelled", {"reason": "cancelled"}, step.place, step.branch or None)

    def expired(self, body: m.FanExpired, event: Event) -> Iterator[Told]:
        return self.fanned(body.moves)

    # -- the run ------------------------------------------------------------------------------------------------------

    def pausing(self, body: m.RunPausing, event: Event) -> Iterator[Told]:
        yield Told("run_paused", {"actor": event.actor}, self.at)
        yield self.audit("lifecycle_pause", event)
        yield from self.packed("pause", event, self.at, actor=event.actor)

    def paused(self, body: m.RunPaused, event: Event) -> Iterator[Told]:
        yield self.result("paused", event.at)

    def resumed(self, body: Any, event: Event) -> Iterator[Told]:
        yield self.audit("lifecycle_resume", event)
        yield from self.fanned(getattr(body, "moves", ()))

    def stopping(self, body: m.RunStopping, event: Event) -> Iterator[Told]:
        yield Told("run_cancelled", {"actor": event.actor, "reason": STOPS.get(body.reason, body.reason)}, self.at)
        yield self.audit("lifecycle_cancel", event)
        yield from self.packed("cancel", event, self.at, actor=event.actor)

    def closed(self, body: m.RunEnded, event: Event) -> Iterator[Told]:
        if body.outcome in ("failed", "broken") and not self._bad:
            message = masked(self._why) or body.reason or body.outcome
            yield Told("error", {"scope": "runtime", "message": message, "recoverable": False}, self.at)
        yield self.result(ENDS[body.outcome], event.at)


def outputs_of(state: RunState) -> Iterator[tuple[str, str]]:
    """What the steps of a DAG handed on."""
    for no in state.made:
        step = state.steps[no]
        if step.output is not None:
            yield state.known.nodes[step.node].name, step.output


Tell = Callable[[Narration, Any, Event], Iterator[Told]]
BEFORE: dict[type, Tell] = {m.StepEnded: Narration.ended, m.StepDropped: Narration.dropped}
"""Told by the state before the event."""
AFTER: dict[type, Tell] = {
    m.RunBegan: Narration.began, m.RunPrepared: Narration.began, m.StepStarted: Narration.started, m.StepDelayed: Narration.delayed,
    m.StepAsked: Narration.asked, m.AnswerGiven: Narration.answered, m.FanExpired: Narration.expired, m.RunPausing: Narration.pausing,
    m.RunPaused: Narration.paused, m.RunResumed: Narration.resumed, m.RunReopened: Narration.resumed, m.RunStopping: Narration.stopping,
    m.RunEnded: Narration.closed,
}  # fmt: skip
