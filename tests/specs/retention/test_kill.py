"""A server killed in the middle of a cleaning leaves nothing half-shown, and the next one finishes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.specs.notices.place import Place, until

pytestmark = [pytest.mark.all, pytest.mark.crash, pytest.mark.slow]
RUNS = 210
TEXT = "steps:\n  - {name: one, command: echo hello}\n"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "place")
    made.start()
    yield made
    made.close()


def logs(place: Place) -> set[str]:
    """The runs that have a log folder."""
    return {path.name for path in (place.data / "logs").glob("*/*/*/*")}


def rows(place: Place, column: str = "id", table: str = "runs") -> set[str]:
    return {row[0] for row in place.read(f"SELECT DISTINCT {column} FROM {table}")}


def test_a_cleaning_that_was_killed_goes_on(place: Place) -> None:
    place.add("many", TEXT)
    for _ in range(RUNS):
        assert place.call("POST", "/dags/many/start").status_code == 200
    until(lambda: place.read("SELECT count(*) FROM runs WHERE status = 'ended'") == [(RUNS,)])
    oldest, newest = min(rows(place)), max(rows(place))
    cleaning = place.command_later("cleanup", "many", "-y")
    until(lambda: len(rows(place)) < RUNS)
    place.kill()
    cleaning.wait()
    shown = rows(place)
    assert newest in shown
    assert rows(place, "run", "steps") == shown, "a run is there with its steps, or not at all"
    assert shown <= logs(place), "a run that is shown has its logs"
    place.start()
    for run in shown:
        if run != newest:
            told = place.get(f"/dag-runs/many/{run}")["dagRunDetails"]
            assert told["nodes"][0]["statusLabel"] == "succeeded"
            break
    assert place.command("cleanup", "many", "-y").returncode == 0
    until(lambda: logs(place) == {newest})
    assert rows(place) == {newest}
    until(lambda: place.read("SELECT count(*) FROM jobs WHERE kind = 'remove_rest'") == [(0,)])
    assert place.call("POST", f"/dag-runs/many/{oldest}/retry").status_code == 404
