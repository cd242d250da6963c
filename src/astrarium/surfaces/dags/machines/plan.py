"""What a DAG file says about time, and the arithmetic of its slots. Pure: the time is handed in.

Times are microseconds since 1970 UTC. A slot is a moment at which a cron expression asks for something; of several expressions
that meet in one minute it is still one slot. Acts of one slot come in the order stop, restart, start.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from ....spec.cron import Cron, next_slot, parse_cron, previous_slot

SECOND = 1_000_000
ON_TIME_S = 60
"""A slot is on time until the next minute begins; after that it is missed. Dagu 1.30: a scheduler that starts within a minute still
acts on that minute's slots."""
MOST_MISSED = 1000
"""At most so many missed slots of one DAG are caught up on, the newest."""
ACTS = ("stop", "restart", "start")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """The schedule of a file: `dag` the name its runs have, `file` the path below the folder, `zone` where its expressions count that
    name none. `overlap`: skip, queue, all or cancel; `catchup`: latest, all or nothing (none), within `window_s` seconds.
    `queued`: its runs go through a queue whatever the overlap (Dagu 1.30: a DAG with a `workerSelector`)."""

    dag: str
    file: str
    zone: str
    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    skip_if_successful: bool = False
    catchup: str = ""
    window_s: int = 0
    overlap: str = "skip"
    restart_wait_s: int = 0
    queued: bool = False

    def crons(self, act: str) -> tuple[str, ...]:
        found: tuple[str, ...] = getattr(self, act)
        return found

    @property
    def empty(self) -> bool:
        return not (self.start or self.stop or self.restart)

    def same_times(self, other: Plan | None) -> bool:
        """Whether both name the same slots."""
        if other is None:
            return False
        mine, theirs = ((one.zone, one.start, one.stop, one.restart) for one in (self, other))
        return mine == theirs


class Next(msgspec.Struct, frozen=True, omit_defaults=True):
    """The next slot (0 = none), what it asks for, and the next slot that starts a run."""

    at: int = 0
    acts: tuple[str, ...] = ()
    start: int = 0


NOTHING = Next()


@lru_cache(maxsize=8192)
def _cron(text: str) -> Cron:
    return parse_cron(text)


def _moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def first_slot(crons: Sequence[str], zone: str, after: int) -> int:
    """The first slot later than `after`; 0 = none."""
    where = ZoneInfo(zone)
    slots = [slot for cron in crons if (slot := next_slot(_cron(cron), _moment(after), where)) is not None]
    return _micros(min(slots)) if slots else 0


def last_slot(crons: Sequence[str], zone: str, before: int) -> int:
    """The last slot earlier than `before`; 0 = none."""
    where = ZoneInfo(zone)
    slots = [slot for cron in crons if (slot := previous_slot(_cron(cron), _moment(before), where)) is not None]
    return max(_micros(max(slots)), 0) if slots else 0


def next_of(plan: Plan, after: int) -> Next:
    """What comes first after a time."""
    slots = {act: slot for act in ACTS if (slot := first_slot(plan.crons(act), plan.zone, after))}
    if not slots:
        return NOTHING
    at = min(slots.values())
    return Next(at, tuple(act for act in ACTS if slots.get(act) == at), slots.get("start", 0))


def missed_starts(plan: Plan, since: int, until: int, now: int) -> tuple[int, ...]:
    """The missed slots from `since` to `until` that are to be caught up on, oldest first."""
    if not plan.catchup or not plan.start:
        return ()
    least = max(since, now - plan.window_s * SECOND)
    most = 1 if plan.catchup == "latest" else MOST_MISSED
    found: list[int] = []
    before = until + 1
    while len(found) < most and (slot := last_slot(plan.start, plan.zone, before)) >= least and slot:
        found.append(slot)
        before = slot
    return tuple(reversed(found))


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the world looked like when a slot came due: runs of the DAG that are not over (`active`) and those of them that have begun
    (`running`), whether a run was made at or after the slot (`newer`), whether one made since the slot before succeeded, and why the
    file cannot be started now (`problem`)."""

    active: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    newer: bool = False
    succeeded: bool = False
    problem: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """`does`: fire, skip (and `why`) or defer (until the running ones have stopped). `queued` = the run goes through a queue."""

    does: str
    why: str = ""
    queued: bool = False


def judge(plan: Plan, act: str, late: bool, stopping: bool, found: Found) -> Verdict:
    """What becomes of a slot. `late` = it is being caught up on, `stopping` = an earlier slot still waits for its run to stop.
    The rules for `start` are Dagu 1.30's, with the overlap policy in place of its "a run is active"."""
    if found.problem:
        return Verdict("skip", found.problem)
    if act == "stop":
        return Verdict("fire") if found.running else Verdict("skip", "nothing is running")
    if stopping:
        return Verdict("skip", "an earlier slot still waits for its run to stop")
    if act == "restart":
        return Verdict("defer") if found.running else Verdict("fire", queued=plan.queued)
    in_turn = late and plan.catchup == "all"
    if plan.overlap == "skip" and found.active and not in_turn:
        return Verdict("skip", "a run is active")
    if found.newer and not in_turn and plan.overlap == "skip":
        return Verdict("skip", "a run was started at or after this slot")
    if plan.skip_if_successful and found.succeeded and not in_turn:
        return Verdict("skip", "a run succeeded since the slot before (skipIfSuccessful)")
    if plan.overlap == "cancel" and found.running:
        return Verdict("defer")
    return Verdict("fire", queued=plan.queued or plan.overlap == "queue" or (in_turn and plan.overlap == "skip"))
