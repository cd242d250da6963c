"""Targets in S3, over the wire: the real client library against a small object store of the tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import astrarium as ar
from astrarium.errors import NotFound, Unavailable
from astrarium.sdk.target import store
from astrarium.sdk.target.target import DirectoryTarget, Target
from tests import s3
from tests.sdk import pipeline
from tests.sdk.pipeline import numbers, report, total

ar.auto_namespace(__name__)

pytestmark = [pytest.mark.all, pytest.mark.net]
PART = 5 * 1024 * 1024


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.S3]:
    pytest.importorskip("obstore")
    pipeline.RUNS.clear()
    with s3.serving() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store._cloud.cache_clear()
        with ar.use_target_roots({"default": "s3://team/results"}):
            yield server
        store._cloud.cache_clear()


class Sheets(ar.Task[DirectoryTarget]):
    """Keeps several files."""

    def target(self) -> DirectoryTarget:
        return DirectoryTarget(f"{ar.target_root()}/sheets")

    def run(self) -> None:
        for name in ("a.csv", "deep/b.csv"):
            with (self.target() / name).open("w") as file:
                file.write(name)
        self.target().mark_done()


def test_a_build_keeps_its_results_there_and_finds_them_again(bucket: s3.S3) -> None:
    task = report(value=total(values=numbers(limit=4)))
    assert str(ar.build(task, mode="threads")) == "build success: 3 made, 0 made before of 3 tasks"
    assert (
        task.target().uri
        == f"s3://team/results/tests/sdk/pipeline/report/v2/{str(task.id)[:2]}/{str(task.id)[2:4]}/{task.id}.txt"
    )
    assert len(bucket.objects) == 3 and all(name.startswith("team/results/tests/sdk/pipeline/") for name in bucket.objects)
    assert task.load() == "sum: 6"
    assert str(ar.build(task)) == "build success: 0 made, 1 made before of 1 tasks"
    assert len(pipeline.RUNS) == 3
    task.target().delete()
    assert not task.complete()
    with pytest.raises(NotFound, match="nothing at s3://team"):
        task.load()
    assert str(ar.build(task)) == "build success: 1 made, 1 made before of 2 tasks"


def test_what_is_long_goes_in_parts_and_comes_back_whole(bucket: s3.S3) -> None:
    target = Target("s3://team/long.bin")
    data = bytes(range(256)) * (2 * PART // 256 + 1000)
    with target.open("wb") as file:
        file.write(data)
    assert [line for line in bucket.asked if "uploads" in line], "in parts"
    assert bucket.objects["team/long.bin"].data == data and not bucket.parts
    assert target.read() == data
    with target.local("r") as path:
        assert path.stat().st_size == len(data)


def test_a_write_that_breaks_off_leaves_nothing(bucket: s3.S3) -> None:
    target = Target("s3://team/half.txt")
    with pytest.raises(RuntimeError), target.open("w") as file:
        file.write("half")
        raise RuntimeError
    assert not target.exists() and bucket.objects == {}


def test_a_folder_is_there_once_it_is_marked(bucket: s3.S3) -> None:
    task = Sheets()
    assert not task.complete()
    (task.target() / "a.csv").write(b"x")
    assert not task.complete()
    ar.build(task)
    assert task.complete() and (task.target() / "deep/b.csv").read() == b"deep/b.csv"
    assert {name.removeprefix("team/results/") for name in bucket.objects} >= {"sheets/a.csv", "sheets/deep/b.csv"}


def test_many_threads_use_one_store(bucket: s3.S3) -> None:
    tasks = [numbers(limit=number) for number in range(24)]
    ar.build(tasks, mode="threads", max_concurrent=8)
    assert len(bucket.objects) == 24 and threading.active_count() < 60


def test_a_store_that_is_down_fails_the_build_and_loses_nothing(bucket: s3.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    task = numbers(limit=3)
    ar.build(task)
    kept = dict(bucket.objects)
    monkeypatch.setenv("AWS_MAX_RETRIES", "0")
    store._cloud.cache_clear()
    bucket.down = True
    with pytest.raises(Unavailable, match="cannot be reached"):
        ar.build(total(values=task))
    bucket.down = False
    assert bucket.objects == kept
    ar.build(total(values=task))
