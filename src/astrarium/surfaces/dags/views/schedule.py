"""What is known of schedules: their rows, and the servers that follow them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from ....kernel.ports import Store
from ....kernel.types import Scope
from .. import wire


class Planned(NamedTuple):
    """What a list shows of a file's schedule. Slots in microseconds, 0 = none."""

    suspended: bool = False
    next_start: int = 0
    last_slot: int = 0
    act: str = ""
    decision: str = ""
    why: str = ""
    run: str = ""

    @property
    def last(self) -> wire.schedule.LastSlot | None:
        if not self.last_slot:
            return None
        return wire.schedule.LastSlot(moment(self.last_slot), self.act, self.decision, self.why, self.run)


UNPLANNED = Planned()


def moment(at: int) -> str:
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def planned(reader: Store, scope: Scope, names: Iterable[str] | None = None) -> dict[str, Planned]:
    """File stem → its schedule, for the files that have one or were ever suspended; only those of `names`, if given."""
    sql = (
        "SELECT name, suspended, next_start, last_slot, last_act, last_decision, last_why, last_run FROM schedules"
        " WHERE workspace = ?"
    )
    args = [scope.workspace]
    if names is not None:
        wanted = list(names)
        sql += f" AND name IN ({','.join('?' * len(wanted))})"
        args += wanted
    return {row[0]: Planned(bool(row[1]), *row[2:]) for row in await reader.read(sql, args)}


async def schedule_plans(reader: Store, scope: Scope) -> dict[str, tuple[str, str]]:
    """File stem → (the plan it was last given as JSON, what is wrong with the file), for schedules whose file is there."""
    sql = "SELECT name, plan, trouble FROM schedules WHERE workspace = ? AND status <> 'gone'"
    return {row[0]: (row[1], row[2]) for row in await reader.read(sql, (scope.workspace,))}


async def list_schedulers(reader: Store) -> wire.schedule.SchedulerList:
    """Every live server follows the schedules: they share them slot by slot."""
    rows = await reader.read("SELECT id, host, started_at FROM workers WHERE ended = 0 ORDER BY started_at, id")
    return wire.schedule.SchedulerList([wire.schedule.Scheduler(id_, host, "active", moment(at)) for id_, host, at in rows])
