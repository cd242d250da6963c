"""Containers of a worker that died: each worker notes the engines it uses, and its containers carry its id as a label, so that the
next worker of this machine removes them before it judges the steps they belonged to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path

from ...runs.ports import StepFailed
from .engine_api import Engine

log = logging.getLogger("astrarium.docker")
WORKER_LABEL = "astrarium.worker"
SUFFIX = ".engines"
_WITHIN_S = 10.0


def note_engine(folder: Path, worker: str, address: str) -> None:
    """From here on, this worker may have containers in that engine. Durable before the first of them is made."""
    path = folder / f"{worker}{SUFFIX}"
    known = path.read_text().splitlines() if path.exists() else []
    if address not in known:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("a") as file:
            file.write(f"{address}\n")


def remove_leftovers(servers: Collection[str], folder: Path) -> int:
    """Remove what ended workers left in engines; how many containers. A note stays as long as its engine cannot be asked."""
    wanted = [path for path in folder.glob(f"*{SUFFIX}") if path.name.removesuffix(SUFFIX) in servers]
    return asyncio.run(_remove_all(wanted)) if wanted else 0


async def _remove_all(notes: list[Path]) -> int:
    removed = 0
    for note in notes:
        left: list[str] = []
        for address in note.read_text().splitlines():
            try:
                async with asyncio.timeout(_WITHIN_S):
                    removed += await _remove(address, note.name.removesuffix(SUFFIX))
            except (StepFailed, TimeoutError) as error:
                log.warning("what a dead server left in the container engine at %s stays for now: %s", address, error)
                left.append(address)
        if not left:
            note.unlink(missing_ok=True)
    return removed


async def _remove(address: str, worker: str) -> int:
    engine = Engine(address)
    try:
        found = await engine.labelled(f"{WORKER_LABEL}={worker}")
        for container in found:
            await engine.remove(container)
        return len(found)
    finally:
        await engine.close()
