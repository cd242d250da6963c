"""Simulated worlds: at least 50 runs and 3 faults each, every kind of fault meeting every kind of command over the seeds.

To repeat one: `ASTRARIUM_SEED=<seed> pytest tests/sim -k test_world`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.sim.wish import COMMANDS
from tests.sim.world import FAULTS, LEAST_FAULTS, LEAST_RUNS, World, run_world

ONLY = os.environ.get("ASTRARIUM_SEED", "")
SOME = [int(ONLY)] if ONLY else list(range(100))
FIRST, MANY, CHUNK = 1000, 500, 10
IGNORED = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
"""A killed server's tasks end before they begin."""


def live(seed: int, folder: Path) -> World:
    try:
        world = run_world(seed, folder)
        assert world.started >= LEAST_RUNS
        assert world.faults.total() >= LEAST_FAULTS
        return world
    except BaseException:
        print(f"\nworld {seed} went wrong; repeat it with: ASTRARIUM_SEED={seed} pytest tests/sim -k test_world")
        raise


@pytest.mark.sim
@IGNORED
@pytest.mark.parametrize("seed", SOME)
def test_world(seed: int, tmp_path: Path) -> None:
    live(seed, tmp_path)


@pytest.mark.sim
@pytest.mark.all
@pytest.mark.slow
@IGNORED
@pytest.mark.parametrize("first", range(FIRST, FIRST + MANY, CHUNK))
def test_many_worlds(first: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever lives the last of the worlds looks whether every fault met every command."""
    base = tmp_path_factory.getbasetemp()
    tables = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "sim-coverage"
    tables.mkdir(exist_ok=True)
    met: set[tuple[str, str]] = set()
    for seed in range(first, first + CHUNK):
        met |= live(seed, tmp_path).met
    (tables / f"{first}.json").write_text(json.dumps(sorted(met)))
    written = list(tables.glob("*.json"))
    if len(written) == MANY // CHUNK:
        total = {tuple(cell) for path in written for cell in json.loads(path.read_text())}
        assert {(fault, command) for fault in FAULTS for command in COMMANDS} - total == set()


@pytest.mark.sim
@IGNORED
def test_a_world_repeats(tmp_path: Path) -> None:
    """The same seed gives the same history, so a failure can be looked at again."""
    histories = []
    for _ in range(2):
        world = run_world(4, tmp_path)
        histories.append((len(world.seen), world.met, world.faults, [(effect.no, effect.try_no) for effect in world.effects]))
    assert histories[0] == histories[1]
