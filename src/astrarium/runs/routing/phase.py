"""The order of a run's phases and the verdict between them: init, main, one of on_success / on_failure / on_cancel, exit, end.

The verdict on the main phase is spoken once, when it is over; it chooses the next phase, and only a failing success or exit
phase changes it afterwards. Everything here is arithmetic on a phase's tally, so `advance` and `fold` reach the same verdict.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .ending import BAD, ENDED_EARLY, GOOD, SAID_NO, SOFT, UNDONE, Policy
from .port import RunOutcome

START: Final = -1
INIT: Final = 0
MAIN: Final = 1
ON_SUCCESS: Final = 2
ON_FAILURE: Final = 3
ON_CANCEL: Final = 4
EXIT: Final = 5
ON_WAIT: Final = 6
CLOSED: Final = 7

NUMBERS: Final = {
    "init": INIT,
    "main": MAIN,
    "on_success": ON_SUCCESS,
    "on_failure": ON_FAILURE,
    "on_cancel": ON_CANCEL,
    "exit": EXIT,
    "on_wait": ON_WAIT,
}
_REPLY: Final = {
    "succeeded": ON_SUCCESS,
    "partial": ON_SUCCESS,
    "failed": ON_FAILURE,
    "broken": ON_FAILURE,
    "rejected": ON_FAILURE,
    "cancelled": ON_CANCEL,
}


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """How a run ends and why."""

    outcome: RunOutcome
    reason: str = ""


class Halt(msgspec.Struct, frozen=True):
    """What was asked from outside: `work` ends init and main, `replies` ends the phases after them."""

    work: Verdict | None = None
    replies: Verdict | None = None


def halted(halt: Halt, phase: int, verdict: Verdict) -> Halt:
    """One more stop. The first one decides how the run ends; one during the later phases ends those as well."""
    if phase <= MAIN:
        return halt if halt.work else msgspec.structs.replace(halt, work=verdict)
    return halt if halt.replies else msgspec.structs.replace(halt, replies=verdict)


def stops(halt: Halt, phase: int) -> bool:
    """Whether nothing new of this phase may start."""
    return (halt.work if phase <= MAIN else halt.replies) is not None


def judge(policy: Policy, phase: int, tally: int, left: int, halt: Halt, verdict: Verdict | None) -> Verdict | None:
    """The verdict once `phase` is over; `tally` adds up how its steps ended, `left` of them never started."""
    if phase <= INIT:
        if halt.work:
            return halt.work
        return Verdict("cancelled", "init_failed") if tally & (BAD | SAID_NO | ENDED_EARLY) else None
    if phase == MAIN:
        return verdict or _main_verdict(policy, tally, left, halt)
    if phase in (ON_SUCCESS, EXIT):
        if tally & ENDED_EARLY and halt.replies:
            return verdict if halt.replies.outcome == "cancelled" else halt.replies
        if tally & (BAD | SAID_NO | ENDED_EARLY) and verdict and verdict.outcome in ("succeeded", "partial"):
            return Verdict("failed", "success_phase_failed" if phase == ON_SUCCESS else "exit_phase_failed")
    return verdict


def _main_verdict(policy: Policy, tally: int, left: int, halt: Halt) -> Verdict:
    """The first that fits (Dagu 1.30; aborted and skipped steps alone fail nothing)."""
    if halt.work and (left or tally & UNDONE):
        return halt.work
    if tally & SAID_NO:
        return Verdict("rejected")
    if tally & (BAD | ENDED_EARLY):
        return Verdict("failed")
    if tally & SOFT:
        return Verdict("partial") if tally & GOOD or not policy.alone_fails else Verdict("failed")
    return Verdict("succeeded")


def following(phase: int, halt: Halt, verdict: Verdict | None) -> int:
    """The phase after this one, given the verdict spoken at its end."""
    if halt.replies:
        return CLOSED
    if phase == START and verdict is None:
        return INIT
    if phase <= INIT and verdict is None:
        return MAIN
    if phase <= MAIN and verdict is not None:
        return _REPLY[verdict.outcome]
    return EXIT if phase < EXIT else CLOSED
