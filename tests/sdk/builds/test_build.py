"""Builds without a registry: the same results in every mode, nothing made twice, failures that stop only what needs them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import astrarium as ar
from astrarium.errors import Invalid
from tests.sdk import pipeline
from tests.sdk.pipeline import AsyncSums, Kills, Sums, breaks, nothing, numbers, process_id, report, total

MODES = ("sequential", "threads", "async", "processes")


@pytest.fixture(autouse=True)
def _fresh(roots: Path) -> None:
    pipeline.RUNS.clear()


def chain(limit: int = 4) -> ar.Task[str]:
    return report(value=total(values=numbers(limit=limit)))


@pytest.mark.parametrize("mode", MODES[:3])
def test_a_chain_is_made_in_order_and_once(mode: str) -> None:
    task = chain()
    first = ar.build(task, mode=mode)
    assert (str(first.status), first.task_count.succeeded, first.build_id) == ("success", 3, None)
    assert task.load() == "sum: 6"
    again = ar.build(chain(), mode=mode)
    assert (again.task_count.discovered, again.task_count.previously_completed, again.task_count.succeeded) == (1, 1, 0)
    assert pipeline.RUNS == ["numbers 4", "total", "report"]


@pytest.mark.parametrize("mode", MODES)
def test_tasks_that_a_body_yields_are_made_before_it_goes_on(mode: str) -> None:
    ended = ar.build([Sums(count=4), AsyncSums(count=4)], mode=mode)
    assert (Sums(count=4).load(), AsyncSums(count=4).load()) == ("0,0,1,3 last: 6", 4)
    assert ended.task_count.succeeded == 2 + 4 + 4 + 3, "each task below is made once, whoever asks"
    if mode in ("sequential", "threads", "async"):
        assert pipeline.RUNS.count("Sums begins") == 1, "a generator of this process goes on where it stood"


@pytest.mark.slow
def test_bodies_run_in_other_processes() -> None:
    tasks = [process_id(number=number) for number in range(3)]
    ar.build(tasks, mode="processes", max_concurrent=2)
    assert os.getpid() not in {task.load() for task in tasks}


@pytest.mark.slow
def test_a_process_that_dies_fails_its_task_and_no_later_build(tmp_path: Path) -> None:
    task = Kills(marker=tmp_path / "marker")
    with pytest.raises(ar.BuildFailed, match="the process that ran Kills died"):
        ar.build(task, mode="processes", max_concurrent=1)
    assert ar.build(task, mode="processes", max_concurrent=1).task_count.succeeded == 1


def test_a_failure_stops_the_build_and_tells_why() -> None:
    with pytest.raises(ar.BuildFailed, match="boom") as told:
        ar.build([report(value=breaks(message="boom")), numbers(limit=1)], mode="sequential")
    assert isinstance(told.value.__cause__, RuntimeError)
    count = told.value.summary.task_count
    assert (count.failed, count.skipped, count.cancelled, count.succeeded) == (1, 1, 1, 0)
    assert told.value.summary.failed_task == str(breaks(message="boom").id)
    assert not numbers(limit=1).complete()


@pytest.mark.parametrize("mode", MODES[:3])
def test_going_on_after_a_failure_makes_the_rest(mode: str) -> None:
    ended = ar.build([report(value=breaks(message="boom")), chain()], mode=mode, fail_mode="continue")
    assert str(ended.status) == "failure"
    assert (ended.task_count.succeeded, ended.task_count.failed, ended.task_count.skipped) == (3, 1, 1)
    assert chain().complete()


def test_a_body_that_waits_for_a_task_that_fails_is_not_gone_on_with() -> None:
    ended = ar.build([Sums(count=2, failing=True)], mode="threads", fail_mode="continue")
    assert (ended.task_count.failed, ended.task_count.skipped) == (1, 1)
    assert "Sums ends" not in pipeline.RUNS


def test_a_function_that_returns_nothing_builds_and_is_read_as_none() -> None:
    @ar.task
    def after(value: ar.Depends[dict]) -> list:
        return [value]

    assert str(ar.build(after(value=nothing())).status) == "success"
    assert (nothing().load(), after(value=nothing()).load()) == (None, [None])


def test_a_class_body_that_saves_nothing_is_told_so() -> None:
    class Forgets(ar.Task[str]):
        def run(self) -> None:
            pass

    class Silent(ar.Task[None]):
        def run(self) -> None:
            pass

    with pytest.raises(ar.BuildFailed, match=r"the body of .*Forgets ended, but .* is not there"):
        ar.build(Forgets())
    assert str(ar.build(Silent()).status) == "success"


def test_a_target_that_is_gone_is_made_again() -> None:
    ar.build(chain())
    total(values=numbers(limit=4)).target().delete()
    chain().target().delete()
    assert ar.build(chain()).task_count.succeeded == 2


def test_tasks_in_a_circle_are_refused() -> None:
    class Ring(ar.Task[int]):
        number: int

        def requires(self) -> ar.TaskStruct:
            return Ring(number=(self.number + 1) % 3)

    class Biter(ar.Task[int]):
        number: int

        def run(self):
            yield Biter(number=1 - self.number)

    with pytest.raises(Invalid, match="needs itself"):
        ar.build(Ring(number=0))
    with pytest.raises(ar.BuildFailed, match="needs itself"):
        ar.build(Biter(number=0))


def test_no_more_run_at_a_time_than_allowed() -> None:
    running: list[int] = []
    most: list[int] = []

    @ar.task
    async def counted(number: int) -> int:
        running.append(number)
        most.append(len(running))
        await asyncio.sleep(0)
        running.remove(number)
        return number

    ar.build([counted(number=number) for number in range(12)], mode="async", max_concurrent=3)
    assert max(most) == 3


async def test_a_build_inside_a_running_loop_has_a_thread_of_its_own() -> None:
    assert ar.build(numbers(limit=2)).task_count.succeeded == 1
    assert (await ar.build_aio(numbers(limit=3))).task_count.succeeded == 1


def test_a_number_no_json_can_say_is_a_parameter_too() -> None:
    @ar.task
    def limited(limit: float) -> str:
        return str(limit)

    ar.build(limited(limit=float("inf")))
    assert limited(limit=float("inf")).load() == "inf"


def test_wrong_orders_are_refused_before_anything_runs() -> None:
    for wrong in ([], [numbers]):
        with pytest.raises(Invalid, match="expected tasks to build"):
            ar.build(wrong)
    for options in ({"mode": "sideways"}, {"fail_mode": "never"}, {"max_concurrent": 0}, {"global_lock": True}):
        with pytest.raises(Invalid):
            ar.build(numbers(limit=1), **options)
    assert pipeline.RUNS == []


def test_the_memory_of_one_process_is_no_place_for_another() -> None:
    with ar.use_target_roots({"default": "in-memory://here"}):
        with pytest.raises(ar.BuildFailed, match="memory of one process"):
            ar.build(numbers(limit=1), mode="processes")
        assert ar.build(numbers(limit=1), mode="threads").task_count.succeeded == 1


def test_the_bar_is_shown_when_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    ar.build(chain(), progress=True)
    assert "3/3" in capfd.readouterr().err
    ar.build(chain(limit=5))
    assert capfd.readouterr().err == ""


def test_a_thousand_tasks_below_one() -> None:
    class Wide(ar.Task[int]):
        def requires(self) -> ar.TaskStruct:
            return [Small(number=number) for number in range(1000)]

        def run(self) -> None:
            self._save(1)

    class Small(ar.Task[int]):
        number: int

        def run(self) -> None:
            self._save(self.number)

    with ar.use_target_roots({"default": "in-memory://wide"}):
        assert ar.build(Wide(), mode="sequential").task_count.succeeded == 1001
