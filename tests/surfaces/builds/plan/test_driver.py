"""Whole builds on plans, driven without a socket: calls that come twice, drivers that die at any call, drivers that race."""

from __future__ import annotations

import asyncio
import random
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrarium.errors import Refused
from astrarium.kernel.clock import HandClock
from astrarium.kernel.types import Command
from astrarium.spec.ids import uuid7
from astrarium.surfaces.builds.machines.plan.claim import limit_stream
from astrarium.surfaces.builds.machines.plan.limit import SetLimit
from astrarium.surfaces.builds.plan import wire_task
from astrarium.surfaces.builds.plan.desk import Plans
from tests.surfaces.builds.plan.driver import TTL_S, Died, Driver, Graph, opened, refused

CHAIN: Graph = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
START = 1_700_000_000_000_000


def turn(clock: HandClock, seconds: int) -> None:
    clock.turn_to(clock.now() + seconds * 1_000_000)


async def completions(plans: Plans) -> dict[str, int]:
    """Task → how often it was completed."""
    rows = await plans.store.read("SELECT task_id, count(*) FROM executions WHERE outcome = 'completed' GROUP BY task_id")
    return {task: count for task, count in rows}


async def digest(plans: Plans) -> Any:
    """All rows a repeated call must leave as they are."""
    tables = ("builds", "plans", "plan_members", "instances", "instance_edges", "executions", "task_states", "build_events")
    return {name: await plans.store.read(f"SELECT * FROM {name} ORDER BY 1, 2, 3") for name in tables}


async def test_a_build_from_start_to_end(tmp_path: Path) -> None:
    async with opened(tmp_path, HandClock(START)) as plans:
        driver = Driver(plans, "one", CHAIN, set(), [])
        await driver.run()
        assert driver.ran == ["a", "b", "c", "d"] and await completions(plans) == dict.fromkeys("abcd", 1)
        assert (await plans.show_build(driver.caller, driver.build)).status == "completed"
        assert driver.calls == 5 + 2 * 4 + 1


async def test_calls_that_come_twice_change_nothing_twice(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    counts = []
    for folder, twice in ((one, False), (two, True)):
        folder.mkdir()
        async with opened(folder, HandClock(START)) as plans:
            driver = Driver(plans, "one", CHAIN, set(), [], twice=twice)
            await driver.run()
            rows = await digest(plans)
            events = await plans.store.read("SELECT type, count(*) FROM events GROUP BY type ORDER BY type")
            counts.append(({name: len(found) for name, found in rows.items()}, events))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("unheard", [False, True])
async def test_a_driver_may_die_at_any_call(tmp_path: Path, unheard: bool) -> None:
    """Before a call, or after it without hearing the answer. Another resumes, and each task is completed once."""
    for lives in range(1, 14):
        folder = tmp_path / str(lives)
        folder.mkdir()
        clock = HandClock(START)
        async with opened(folder, clock) as plans:
            outputs: set[str] = set()
            ran: list[str] = []
            first = Driver(plans, "first", CHAIN, outputs, ran, lives=lives, unheard=unheard)
            with pytest.raises(Died):
                await first.run()
            turn(clock, TTL_S + 1)  # its claims are over
            second = Driver(plans, "second", CHAIN, outputs, ran)
            there = await plans.store.read("SELECT id FROM builds")
            await second.run(there[0][0] if there else "")
            assert (await plans.show_build(second.caller, second.build)).status == "completed"
            assert sorted(ran) == sorted(CHAIN), "done once, wherever the first one died"
            done = await plans.store.read("SELECT task_id, status FROM task_states WHERE status <> 'completed'")
            assert done == [] and max((await completions(plans)).values()) == 1


async def test_two_drivers_race_for_one_set_of_tasks(tmp_path: Path) -> None:
    """Fifty times: no task is done by both."""
    async with opened(tmp_path, HandClock(START)) as plans:
        for race in range(50):
            graph: Graph = {f"r{race}{task}": tuple(f"r{race}{one}" for one in needs) for task, needs in CHAIN.items()}
            outputs: set[str] = set()
            ran: list[str] = []
            await asyncio.gather(*(Driver(plans, name, graph, outputs, ran).run() for name in ("one", "two")))
            assert sorted(ran) == sorted(graph)
        assert set((await completions(plans)).values()) == {1}


@pytest.mark.parametrize("seed", range(8))
async def test_calls_in_any_order_and_number(tmp_path: Path, seed: int) -> None:
    """All calls of a build, some of them twice, shuffled after its plan is there: whatever is refused, a task is completed once, by one
    execution, and the same calls once more change nothing."""
    chance = random.Random(seed)
    clock = HandClock(START)
    async with opened(tmp_path, clock) as plans:
        driver = Driver(plans, "one", CHAIN, set(), [])
        plan = await driver.prepare()
        claims, caller = plans.claims, driver.caller
        calls: list[tuple[Any, tuple[Any, ...]]] = []
        for task in CHAIN:
            for _ in range(2):
                execution = uuid.UUID(uuid7())
                start = wire_task.TaskClaim(execution, claim_ttl_seconds=TTL_S)
                calls.append((claims.start, (plan, task, start)))
                outcome = chance.choice(("completed", "completed", "suspended", "interrupted"))
                calls.append((claims.report, (plan, task, str(execution), outcome)))
                calls.append((claims.renew, (task, wire_task.ClaimRenewal(execution))))
        calls += chance.choices(calls, k=len(calls))
        for _ in range(3):
            chance.shuffle(calls)
            for act, args in calls:
                try:
                    await act(caller, *args)
                except Refused:
                    pass
        assert max((await completions(plans)).values(), default=0) <= 1
        rows = await plans.store.read("SELECT task_id, count(*) FROM executions WHERE released_at = 0 GROUP BY task_id")
        assert all(count == 1 for _, count in rows), "one claim at a time"
        ended = await plans.store.read("SELECT id, task_id FROM executions WHERE ended_at > 0")
        before = await digest(plans)
        for execution, task in ended:
            await refused("execution_already_ended", claims.report, caller, plan, task, execution, "completed")
        assert await digest(plans) == before


async def test_a_lapsed_claim_is_taken_over_once_and_its_late_holder_is_fenced_off(tmp_path: Path) -> None:
    clock = HandClock(START)
    async with opened(tmp_path, clock) as plans:
        driver = Driver(plans, "one", CHAIN, set(), [])
        plan = await driver.prepare()
        claims, caller = plans.claims, driver.caller
        first, second, third = (uuid.UUID(uuid7()) for _ in range(3))

        def claim(execution: uuid.UUID) -> wire_task.TaskClaim:
            return wire_task.TaskClaim(execution, claim_ttl_seconds=TTL_S)

        await claims.start(caller, plan, "a", claim(first))
        await refused("task_already_running", claims.start, caller, plan, "a", claim(second))
        turn(clock, TTL_S - 1)
        await claims.renew(caller, "a", wire_task.ClaimRenewal(first, TTL_S))
        turn(clock, TTL_S - 1)
        await refused("task_already_running", claims.start, caller, plan, "a", claim(second))
        turn(clock, 2)
        tried = await asyncio.gather(
            *(claims.start(caller, plan, "a", claim(one)) for one in (second, third)), return_exceptions=True
        )
        assert sum(isinstance(one, Refused) for one in tried) == 1
        error = await refused("claim_not_held", claims.renew, caller, "a", wire_task.ClaimRenewal(first, TTL_S))
        assert error.details == {"claim_outcome": "taken_over"}
        await refused("task_already_running", claims.start, caller, plan, "a", claim(first))
        await refused("execution_not_current", claims.report, caller, plan, "a", str(first), "completed")
        await refused("execution_already_ended", claims.report, caller, plan, "a", str(first), "completed")
        assert (await claims.task(caller, "a")).kept.status == "running"
        events = await plans.store.read("SELECT type, applied FROM build_events WHERE execution = ? ORDER BY seq", (str(first),))
        assert events == [("task_started", 1), ("task_completed", 0)]


async def test_a_late_report_counts_until_somebody_took_over(tmp_path: Path) -> None:
    clock = HandClock(START)
    async with opened(tmp_path, clock) as plans:
        driver = Driver(plans, "one", CHAIN, set(), [])
        plan = await driver.prepare()
        execution = uuid7()
        await plans.claims.start(driver.caller, plan, "a", wire_task.TaskClaim(uuid.UUID(execution), claim_ttl_seconds=5))
        turn(clock, 60)
        told = await plans.claims.report(driver.caller, plan, "a", execution, "completed")
        assert told.status == "completed"


async def test_what_an_ended_build_claims_is_free(tmp_path: Path) -> None:
    async with opened(tmp_path, HandClock(START)) as plans:
        one, two = (Driver(plans, name, CHAIN, set(), []) for name in ("one", "two"))
        first, second = await one.prepare(), await two.prepare()
        execution = uuid7()
        await plans.claims.start(one.caller, first, "a", wire_task.TaskClaim(uuid.UUID(execution)))
        await refused("not_claim_holder", plans.claims.report, two.caller, second, "a", execution, "completed")
        await plans.end_build(one.caller, one.build, "cancelled")
        assert (await plans.claims.task(one.caller, "a")).kept.status == "cancelled"
        error = await refused(
            "build_not_running", plans.claims.start, one.caller, first, "a", wire_task.TaskClaim(uuid.UUID(uuid7()))
        )
        assert error.details == {"build_status": "cancelled"}
        await refused("execution_not_current", plans.claims.report, one.caller, first, "a", execution, "completed")
        await plans.claims.start(two.caller, second, "a", wire_task.TaskClaim(uuid.UUID(uuid7())))
        outcome = await plans.store.read("SELECT claim_outcome FROM executions WHERE id = ?", (execution,))
        assert outcome == [("released",)]


async def test_limits_count_live_claims(tmp_path: Path) -> None:
    clock = HandClock(START)
    async with opened(tmp_path, clock) as plans:
        from_ = Driver(plans, "one", {"a": (), "b": (), "c": (), "d": ("a", "b", "c")}, set(), [])
        plan = await from_.prepare()
        caller, claims = from_.caller, plans.claims

        def claim(ttl_s: int = TTL_S) -> wire_task.TaskClaim:
            return wire_task.TaskClaim(uuid.UUID(uuid7()), claim_ttl_seconds=ttl_s, limit_keys=["gpu"])

        await set_limit(plans, from_, 2)
        held = claim()
        await claims.start(caller, plan, "a", held)
        await claims.start(caller, plan, "b", claim(10))
        error = await refused("concurrency_limit_reached", claims.start, caller, plan, "c", claim())
        assert error.details == {"keys": ["gpu"]}
        await claims.report(caller, plan, "a", str(held.execution_id), "completed")
        await claims.start(caller, plan, "c", claim())
        await set_limit(plans, from_, 0)
        turn(clock, 11)
        await refused("concurrency_limit_reached", claims.start, caller, plan, "b", claim())


async def set_limit(plans: Plans, driver: Driver, most: int) -> None:
    await plans.engine.submit(Command(limit_stream("local", "gpu"), SetLimit(most), driver.caller.scope, driver.caller.actor))


async def test_a_yield_is_told_again_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path, HandClock(START)) as plans:
        driver = Driver(plans, "one", {"p": ()}, set(), [])
        plan = await driver.prepare()
        execution = uuid.UUID(uuid7())
        await plans.claims.start(driver.caller, plan, "p", wire_task.TaskClaim(execution, claim_ttl_seconds=TTL_S))
        driver.graph = {"x": (), "y": (), "p": ()}
        deployment = uuid.UUID((await plans.plan(driver.caller, plan)).kept.deployment)
        body = wire_task.TaskYield(
            execution, deployment, uuid.UUID(uuid7()), [driver.item("x"), driver.item("y")], ["i-x", "i-y"], suspend=True
        )
        first = await plans.claims.yield_(driver.caller, plan, "p", body)
        again = await plans.claims.yield_(driver.caller, plan, "p", body)
        assert (first.replayed, again.replayed) == (False, True)
        assert first == msgspec.structs.replace(again, replayed=False)
        assert (first.status, first.dynamic_edges_created, first.members.tasks_created) == ("suspended", 2, 2)
        await refused(
            "upstream_incomplete", plans.claims.start, driver.caller, plan, "p", wire_task.TaskClaim(uuid.UUID(uuid7()))
        )
        frontier = await plans.frontier(driver.caller, driver.build)
        assert [one.task_id for one in frontier.runnable] == ["x", "y"]
