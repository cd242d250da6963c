"""No-op steps on PostgreSQL, next to the same transitions in bare `unnest` batches.

`python -m bench.postgres URL …` is one bare sample.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

try:
    import asyncpg
except ImportError:  # an extra
    asyncpg = None

from tests.postgres import PrivatePostgres, find_programs

from .bare import Turn, chains
from .noop import IN_FLIGHT, ours
from .report import Figure, figure, interleave, sample

NAME = "no-op steps on PostgreSQL, 500 runs in flight"
SCHEMA = """
CREATE TABLE events (position bigint PRIMARY KEY, stream text, seq bigint, at bigint, type text, body text, UNIQUE (stream, seq));
CREATE TABLE steps (run text, no bigint, status text, started bigint, ended bigint, output text, PRIMARY KEY (run, no));
CREATE TABLE runs (id text PRIMARY KEY, status text, at bigint);
"""
EVENTS = "INSERT INTO events SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])"
STEPS = (
    "INSERT INTO steps SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[]) "
    "ON CONFLICT (run, no) DO UPDATE SET status = excluded.status, ended = excluded.ended, output = excluded.output"
)
RUNS = (
    "INSERT INTO runs SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) "
    "ON CONFLICT (id) DO UPDATE SET status = excluded.status, at = excluded.at"
)


async def bare_chains(url: str, runs: int, steps: int, flight: int) -> float:
    db = await asyncpg.connect(url)
    await db.execute(SCHEMA)

    async def write(turn: Turn) -> None:
        async with db.transaction():
            for sql, rows in ((EVENTS, turn.events), (STEPS, turn.steps), (RUNS, turn.runs)):
                if rows:
                    await db.execute(sql, *map(list, zip(*rows, strict=True)))

    began = time.perf_counter()
    for turn in chains(runs, steps, flight):
        await write(turn)
    took = time.perf_counter() - began
    done = await db.fetchval("SELECT count(*) FROM steps WHERE status = 'succeeded'")
    await db.close()
    return float(done / took)


def measure(folder: Path, quick: bool) -> list[Figure]:
    if asyncpg is None:
        return [Figure(NAME, "steps/s", target=8_000, skipped="the extra astrarium[postgres] is not installed")]
    programs = find_programs()
    if programs is None:
        return [Figure(NAME, "steps/s", target=8_000, skipped="no PostgreSQL programs (initdb, postgres) were found")]
    runs, times = (1_000, 3) if quick else (4_000, 5)
    server = PrivatePostgres(programs)
    try:
        server.start()
        taken = interleave(
            times,
            ours=lambda: ours(folder, runs, 5, IN_FLIGHT, database_url=server.new_database()),
            bare=lambda: sample("postgres", server.new_database(), runs, 5, IN_FLIGHT)["steps_per_s"],
        )
    finally:
        server.stop()
    notes = {"runs_per_s": max(one["runs_per_s"] for one in taken["ours"]),
             "cpu_us_per_step": min(one["cpu_us_per_step"] for one in taken["ours"])}  # fmt: skip
    return [
        figure(NAME, "steps/s", [one["steps_per_s"] for one in taken["ours"]], bare={"unnest_batches": taken["bare"]},
               limit="unnest_batches", least=8_000, notes=notes)
    ]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps({"steps_per_s": asyncio.run(bare_chains(sys.argv[1], *map(int, sys.argv[2:5])))}))
