"""How a step ended, in one letter, and what that means for the edges behind it and for the run.

The letters are printable so that a memo's statuses are dumped as one short text. `TAKEN`, `SKIPPED`, `ABORTED` are what an
edge may become; they are bits, so a node's in-edges add up to one number.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .port import Ended

IDLE: Final = ord(".")
OPEN: Final = ord("o")
SUCCEEDED: Final = ord("s")
PARTIAL: Final = ord("p")
MARKED: Final = ord("m")
TOLERATED: Final = ord("t")
SKIPPED_STEP: Final = ord("k")
PASSED: Final = ord("g")
FAILED: Final = ord("f")
REJECTED: Final = ord("r")
CANCELLED: Final = ord("c")
ABORTED_STEP: Final = ord("a")

KEPT: Final = frozenset((SUCCEEDED, PARTIAL, MARKED, SKIPPED_STEP, PASSED))
"""What the next round of a run keeps (Dagu 1.30: a tolerated failure is a failed node and runs again)."""

UNFINISHED: Final = frozenset((IDLE, OPEN, CANCELLED, ABORTED_STEP))
"""What did not end by itself: a fork visits it again."""

TAKEN: Final = 1
SKIPPED: Final = 2
ABORTED: Final = 4
BEGUN: Final = 8
"""Not an edge result: the node of a `join any` has been answered already."""

GOOD: Final = 1
UNDONE: Final = 2
SOFT: Final = 4
BAD: Final = 8
SAID_NO: Final = 16
ENDED_EARLY: Final = 32

_TALLIES: Final = {
    SUCCEEDED: GOOD,
    MARKED: GOOD,
    PARTIAL: SOFT | GOOD,
    TOLERATED: SOFT | UNDONE,
    FAILED: BAD | UNDONE,
    REJECTED: SAID_NO | UNDONE,
    CANCELLED: ENDED_EARLY | UNDONE,
    ABORTED_STEP: UNDONE,
}
TALLY: Final = bytes(_TALLIES.get(letter, 0) for letter in range(128))
"""Letter → bits that add up, over a phase, to all its verdict needs to know."""

_LETTERS: Final = {
    "succeeded": SUCCEEDED,
    "skipped": SKIPPED_STEP,
    "failed": FAILED,
    "timed_out": FAILED,
    "broken": FAILED,
    "lost": FAILED,
    "cancelled": CANCELLED,
    "aborted": ABORTED_STEP,
    "rejected": REJECTED,
}


def letter_of(ended: Ended) -> int:
    """The letter of an end. A continue policy can take a failure, never a rejection, a cancellation or an abort."""
    letter = _LETTERS[ended.outcome]
    if letter == SUCCEEDED:
        return PARTIAL if ended.partial else letter
    if letter == FAILED:
        if ended.marked:
            return MARKED
        return TOLERATED if ended.tolerated else letter
    if letter == SKIPPED_STEP and ended.passed:
        return PASSED
    return letter


class Policy(msgspec.Struct, frozen=True):
    """What differs between dialects: `edges[letter]` gives the results of edges on success, on failure and always;
    `alone_fails`: a run in which failures were tolerated but nothing succeeded has failed."""

    edges: tuple[tuple[int, int, int], ...]
    alone_fails: bool


def _edges(blocked: int) -> tuple[tuple[int, int, int], ...]:
    """The table of a dialect in which an edge behind something that went wrong becomes `blocked`."""
    went_well = (TAKEN, SKIPPED, TAKEN)
    table = {letter: went_well for letter in (SUCCEEDED, PARTIAL, MARKED, TOLERATED, PASSED)}
    table[SKIPPED_STEP] = (SKIPPED, SKIPPED, SKIPPED)
    table[FAILED] = table[REJECTED] = (blocked, TAKEN, TAKEN)
    table[CANCELLED] = (blocked, SKIPPED, TAKEN)
    table[ABORTED_STEP] = (blocked, blocked, blocked)
    return tuple(table.get(letter, (0, 0, 0)) for letter in range(128))


DAG: Final = Policy(_edges(ABORTED), alone_fails=True)
POLICIES: Final = {"release": Policy(_edges(SKIPPED), alone_fails=False)}
"""By dialect of the graph; every other dialect follows `DAG`."""
