"""Samples of the machine's load: kept for a day and no longer, asked for by time."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrarium.errors import Invalid
from astrarium.surfaces.dags.views.system import parse_duration, resource_history
from astrarium.surfaces.dags.work.sample import MOST, Sample, Samples, measure_of, sampling


def test_a_day_is_kept_and_no_more() -> None:
    clock = iter(range(0, (MOST + 10) * 5, 5))
    samples = Samples(lambda: Sample(next(clock), 1.0, 2.0, 3.0, 4.0))
    for _ in range(MOST + 10):
        samples.take()
    kept = list(samples.since(0))
    assert len(kept) == MOST == 17_280
    assert kept[0].at == 50
    assert [sample.at for sample in samples.since(kept[-2].at)] == [kept[-2].at, kept[-1].at]


def test_a_sample_that_fails_is_left_out() -> None:
    found = iter([OSError("no disk"), Sample(5, 1.0, 2.0, 3.0, 4.0)])

    def measure() -> Sample:
        one = next(found)
        if isinstance(one, OSError):
            raise one
        return one

    samples = Samples(measure)
    samples.take()
    samples.take()
    assert [sample.at for sample in samples.since(0)] == [5]


def test_this_machine_is_measured(tmp_path: Path) -> None:
    one = measure_of(tmp_path)()
    assert 0 < one.memory <= 100
    assert 0 <= one.disk <= 100
    assert one.cpu >= 0
    assert one.load >= 0


async def test_sampling_ends_with_its_context(tmp_path: Path) -> None:
    async with sampling(tmp_path) as samples:
        assert list(samples.since(0)) == []


def test_the_history_has_a_series_for_each() -> None:
    told = resource_history([Sample(10, 1.234, 2.0, 3.0, 0.5), Sample(15, 9.0, 8.0, 7.0, 6.0)])
    assert [(point.timestamp, point.value) for point in told.cpu] == [(10, 1.23), (15, 9.0)]
    assert [point.value for point in told.load] == [0.5, 6.0]
    assert [len(series) for series in (told.memory, told.disk)] == [2, 2]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h", 3600), ("30m", 1800), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400), ("100ms", 0.1), ("999h", 86_400), ("5us", 5e-6)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "h", "1d", "-1h", "1 h", "1h ", "1h30", "١h", "1" * 30 + "h", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(Invalid):
        parse_duration(text)
