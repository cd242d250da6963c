"""A server's worker that follows schedules by a fast clock until it is killed: `follow.py FOLDER DATABASE BASE SINCE SPEED`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.specs.schedule.clock import FastClock
from tests.specs.schedule.room import open_house


async def follow(folder: Path, database: str, clock: FastClock) -> None:
    async with open_house(folder, clock, database_url=database, lease_s=1.0, synchronous="full"):
        print("follows", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    made = FastClock(int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
    asyncio.run(follow(Path(sys.argv[1]), sys.argv[2], made))
