"""Limits of a build: nobody runs beyond one, nobody is forgotten."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

import astrarium as ar
from astrarium.errors import Invalid
from astrarium.sdk.builds.limit import LocalLimits
from tests.sdk.plan_server import PlanServer

ar.auto_namespace(__name__)


def test_all_run_in_the_end_and_never_too_many() -> None:
    for seed in range(50):
        rng = random.Random(seed)
        limits = {"a": rng.randint(1, 3), "b": 1}
        keys = {str(n): rng.sample(["a", "b", "c"], rng.randint(0, 3)) for n in range(20)}
        kept = LocalLimits(limits, keys.__getitem__)
        ready, live, done = list(keys), [], set()
        while ready or live:
            if ready and (not live or rng.random() < 0.6):
                one = ready.pop(0)
                if kept.enter(one):
                    live.append(one)
            else:
                one = live.pop(rng.randrange(len(live)))
                done.add(one)
                ready += kept.leave(one)
            for key, most in limits.items():
                assert sum(key in keys[name] for name in live) <= most
        assert done == set(keys), seed


def test_without_limits_nobody_is_asked_for_keys() -> None:
    kept = LocalLimits({}, lambda name: pytest.fail("asked"))
    assert kept.enter("x") and kept.leave("x") == []


class Counted(ar.Task[int]):
    number: int
    heavy: bool

    def run(self) -> None:
        with LOCK:
            NOW[self.heavy] += 1
            MOST[self.heavy] = max(MOST[self.heavy], NOW[self.heavy])
            if MOST[False] > 1:
                MANY.set()
        MANY.wait(20)
        with LOCK:
            NOW[self.heavy] -= 1
        self._save(self.number)


LOCK, MANY = threading.Lock(), threading.Event()
NOW, MOST = {True: 0, False: 0}, {True: 0, False: 0}


def test_a_build_keeps_its_own_limits_and_tells_the_registry_the_others(server: PlanServer, tmp_path: Path, roots: Path) -> None:
    tasks = [Counted(number=number, heavy=number % 2 == 0) for number in range(8)]
    ar.build(
        tasks,
        registry=server.registry(tmp_path),
        limits={"heavy": 1},
        limit_keys=lambda task: ["heavy", "gpu"] if task.heavy else [],
    )
    assert MOST[True] == 1 and MOST[False] > 1
    told = [body.get("limit_keys") for _, path, body in server.calls if path.endswith("/start")]
    assert sorted(map(str, told)) == ["None"] * 4 + ["['gpu']"] * 4


def test_a_limit_that_lets_nothing_run_is_refused() -> None:
    with pytest.raises(Invalid, match="at least 1"):
        ar.build(Counted(number=1, heavy=True), limits={"heavy": 0})
