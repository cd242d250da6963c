"""How loaded this machine is: a sample each five seconds while the server is open, kept for a day in memory (Dagu 1.30: 24 h, 5 s)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ....lazy import library

if TYPE_CHECKING:
    import psutil
else:
    psutil = library("psutil")


log = logging.getLogger("astrarium.dags")
SAMPLE_S = 5.0
KEPT_S = 24 * 3600
MOST = int(KEPT_S / SAMPLE_S)


class Sample(NamedTuple):
    """`at` in Unix seconds; processor, memory and disk in percent, the last the disk of the data folder; `load` over one minute."""

    at: int
    cpu: float
    memory: float
    disk: float
    load: float


Measure = Callable[[], Sample]


def measure_of(folder: Path) -> Measure:
    """Measures this machine; the processor's share counts from the call before, so the first one only begins the count."""

    def measure() -> Sample:
        cpu, memory = psutil.cpu_percent(None), psutil.virtual_memory().percent
        return Sample(int(time.time()), cpu, memory, psutil.disk_usage(str(folder)).percent, os.getloadavg()[0])

    return measure


class Samples:
    """What was measured, oldest first; never more than a day of it."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._kept: deque[Sample] = deque(maxlen=MOST)

    def begin(self) -> None:
        """Begin the count of the processor's share: a measure that is not kept. Loads what measures, so not before it is needed."""
        with contextlib.suppress(OSError, psutil.Error):
            self._measure()

    def take(self) -> None:
        """Measure once. Blocks for as long as the disk of the data folder takes to answer."""
        try:
            self._kept.append(self._measure())
        except (OSError, psutil.Error) as error:
            log.warning("the machine's load could not be measured: %s", error)

    def since(self, at: float) -> Iterator[Sample]:
        """The samples taken at or after `at`, Unix seconds."""
        return (sample for sample in list(self._kept) if sample.at >= at)


@contextlib.asynccontextmanager
async def sampling(folder: Path) -> AsyncIterator[Samples]:
    """Samples that grow until the end of the context. `folder` must exist."""
    samples = Samples(measure_of(folder))

    async def watch() -> None:
        await asyncio.to_thread(samples.begin)
        while True:
            await asyncio.sleep(SAMPLE_S)
            await asyncio.to_thread(samples.take)

    task = asyncio.create_task(watch(), name="astrarium-samples")
    try:
        yield samples
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
