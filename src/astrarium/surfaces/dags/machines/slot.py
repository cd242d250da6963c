"""Orders to a schedule and what happens in it. Slots and times are microseconds since 1970 UTC; each event that moves the schedule
carries the next slot, so a fold never computes one."""

from __future__ import annotations

import msgspec

from .plan import NOTHING, Found, Next, Plan

ANY_VERSION = 0
"""Instead of the version of the state that was looked at: whatever it is now."""

# -- commands ---------------------------------------------------------------------------------------------------------


class SetSchedule(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """What the file says now. `trouble` = it does not load, and why; `gone` = there is no such file."""

    plan: Plan | None = None
    trouble: str = ""
    gone: bool = False


class SuspendSchedule(msgspec.Struct, frozen=True, tag=True):
    """Ignore the schedule from now on, or follow it again."""

    suspended: bool


class MissSlots(msgspec.Struct, frozen=True, tag=True):
    """Slots from the next one on are over and were not decided: nobody was there."""


class DecideSlot(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Act on a slot, or skip it, given what was found. `version` is the state that was looked at: a later one refuses. `run` is the
    run that begins with it; `params` and `rerun_of` are a restart's."""

    slot: int
    act: str
    version: int
    found: Found
    late: bool = False
    run: str = ""
    params: str = ""
    rerun_of: str = ""


class EndStopping(msgspec.Struct, frozen=True, tag=True):
    """The runs an act stopped are over."""

    slot: int


class DecideAfter(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Start what an act put off, or not, because of a `problem`."""

    slot: int
    version: int
    run: str = ""
    problem: str = ""


# -- events -----------------------------------------------------------------------------------------------------------


class ScheduleSet(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    plan: Plan | None = None
    trouble: str = ""
    gone: bool = False
    next: Next = NOTHING


class ScheduleSuspended(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    suspended: bool
    next: Next = NOTHING


class SlotsMissed(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Slots from `since` to `until` were missed; `backlog` is all that is still to be caught up on."""

    since: int
    until: int
    backlog: tuple[int, ...] = ()
    next: Next = NOTHING


class SlotFired(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """`run` was started, or `stopped` runs were told to stop. `way`: empty = on time, late = caught up on, after = put off."""

    slot: int
    act: str
    way: str = ""
    run: str = ""
    stopped: tuple[str, ...] = ()
    next: Next = NOTHING


class SlotSkipped(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    slot: int
    act: str
    why: str
    way: str = ""
    next: Next = NOTHING


class SlotDeferred(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """`stopped` runs were told to stop; a run follows `wait_s` seconds after they are over."""

    slot: int
    act: str
    stopped: tuple[str, ...]
    way: str = ""
    wait_s: int = 0
    params: str = ""
    rerun_of: str = ""
    next: Next = NOTHING


class StoppingEnded(msgspec.Struct, frozen=True, tag=True):
    """The stopped runs are over; the new one may begin at `due`."""

    slot: int
    due: int


EVENTS = (ScheduleSet, ScheduleSuspended, SlotsMissed, SlotFired, SlotSkipped, SlotDeferred, StoppingEnded)
