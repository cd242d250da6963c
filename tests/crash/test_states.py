"""`kill -9` of a server with runs in every state: each goes on from its last checkpoint, who rests still rests, forks are intact, nothing
is repeated or lost, and no place is held too often or for ever."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.specs.graphs.conftest import Server

KITCHEN = """
import asyncio
from pathlib import Path


async def note(state, ctx, seconds=0.0):
    await asyncio.sleep(seconds)
    with Path("journal.txt").open("a") as file:
        file.write(f"{ctx.run_id} {ctx.step}\\n")
    return {"n": state["n"] + 1}


async def bake(state, ctx):
    while not Path("done.txt").exists():
        await asyncio.sleep(0.02)
    return await note(state, ctx)
"""
HEAD = 'ir_version: "1.1.0"\nid: "graph:{}"\nstate_schema: {{n: {{type: int, default: 0}}}}\n'
NOTE = '  - {{id: {}, kind: "kitchen:note", config: {{seconds: {}}}}}\n'
GRAPHS = {
    "walk": [("a", 0.0), ("b", 0.3), ("c", 0.3), ("d", 0.3), ("e", 0.0)],
    "quick": [("a", 0.0), ("b", 0.0), ("c", 0.0)],
    "inner": [("i", 0.2), ("j", 0.2)],
}
ASK = '  - {id: ask, kind: interrupt, config: {prompt: "go on?", timeout: TIME}}\n'
LATER_S = 4.0
"""How long the question that runs out may be answered."""
pytestmark = pytest.mark.net
SETTLED = {"done": "done", "asking": "awaiting-input", "paused": "paused", "parked": "paused", "fork asking": "awaiting-input"}
"""How what does not move by itself stands after any kill."""
WAITS = {"holder": "running", "back": "pending", "line": "pending"}
"""The same of a queue whose place is taken."""


def documents() -> dict[str, str]:
    made = {"kitchen.py": KITCHEN}
    for name, nodes in GRAPHS.items():
        made[f"{name}.yaml"] = HEAD.format(name) + "nodes:\n" + "".join(NOTE.format(*node) for node in nodes)
    made["inner.yaml"] += "rules:\n  - {id: on, when: {node: i}, then: [{kind: goto, target: j}]}\n"
    before, after = NOTE.format("before", 0.0), NOTE.format("after", 0.0)
    for name, seconds in (("ask", 3600), ("soon", LATER_S)):
        made[f"{name}.yaml"] = HEAD.format(name) + "nodes:\n" + before + ASK.replace("TIME", str(seconds)) + after
    limit = 'concurrency_limit: 1\nnodes:\n{}  - {{id: bake, kind: "kitchen:bake"}}\n{}'
    made["line.yaml"] = HEAD.format("line") + limit.format(before + ASK.replace("TIME", "3600"), after)
    made["outer.yaml"] = HEAD.format("outer") + (
        "nodes:\n  - {id: sub, kind: subgraph, spec: inner.yaml, config: {inputs: {n: n}, outputs: {n: n}}}\n" + after
    )
    return made


class Kitchen:
    """A server with runs in every state, by what they are doing. Killed, another one takes its place."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(folder / "data", documents())
        self.runs: dict[str, str] = {}
        self.committed: dict[tuple[str, int], int] = {}
        self.fill()

    def fill(self) -> None:
        """A start for each state, in the order in which they take places; those that move by themselves come last."""
        server, runs = self.server, self.runs
        runs["done"] = self.begin("quick", "done")
        runs["fork"] = server.fork(runs["done"], 0, state_overrides={"n": 10})
        server.ended(runs["fork"])
        runs["refork"] = server.fork(runs["fork"], 1)
        server.ended(runs["refork"])
        runs["asking"] = self.begin("ask", "awaiting-input")
        runs["fork asking"] = server.fork(runs["asking"], 0)
        server.status(runs["fork asking"], "awaiting-input")
        runs["back"] = self.begin("line", "awaiting-input")
        runs["holder"] = self.begin("line", "awaiting-input")
        self.respond("holder")
        server.status(runs["holder"], "running")
        self.respond("back")
        runs["line"], runs["parked"] = self.begin("line", "pending"), self.begin("line", "pending")
        assert server.post(runs["parked"], "pause")["status"] == "paused"
        runs["paused"] = self.begin("walk", "running")
        server.post(runs["paused"], "pause")
        server.status(runs["paused"], "paused")
        runs["soon"] = self.begin("soon", "awaiting-input")
        for number in range(6):
            runs[f"walk {number}"], runs[f"outer {number}"] = self.begin("walk"), self.begin("outer")
        runs["refork walk"] = server.fork(runs["paused"], 0)
        runs["pausing"] = self.begin("walk")
        server.post(runs["pausing"], "pause")

    def begin(self, graph: str, *wanted: str) -> str:
        run = self.server.start(graph, {"n": 0})
        if wanted:
            self.server.status(run, *wanted)
        return run

    def respond(self, name: str) -> None:
        self.server.post(self.runs[name], "respond", {"response": {}})

    def statuses(self, *names: str) -> dict[str, str]:
        return {name: self.server.run(self.runs[name])["status"] for name in names}

    def kill(self) -> None:
        """Between two servers, look what is durable: that is not done again."""
        self.server.kill()
        lines = self.lines()
        for key, number in self.committed.items():
            assert lines[key] == number, f"step {key} was committed and happened again"
        for run, place in self.rows(
            "SELECT run, place FROM steps WHERE status = 'done' AND outcome = 'succeeded' AND inherited = 0"
        ):
            self.committed[(run, place)] = lines[(run, place)]
        self.check_places()
        self.server = Server(self.server.folder, {})

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.server.folder / "astrarium.db") as store:
            return store.execute(sql).fetchall()

    def lines(self) -> Counter[tuple[str, int]]:
        text = (self.server.folder / "journal.txt").read_text()
        return Counter((run, int(step)) for run, step in (line.split() for line in text.splitlines()))

    def check_places(self) -> None:
        """Nobody who rests or has ended has a place; who waits for one is in line."""
        kinds = {
            holder: state.partition(":")[0]
            for holder, state in self.rows("SELECT holder, state FROM slots WHERE name LIKE 'queue/%'")
        }
        assert Counter(kinds.values())["held"] <= 1
        for run, status in self.rows("SELECT id, status FROM runs WHERE queue <> ''"):
            kind = kinds.pop(f"run:{run}", "")
            assert kind in {"queued": ("waiting", "held"), "running": ("held",)}.get(status, ("",)), (
                f"{run} is {status}: {kind!r}"
            )
        assert not kinds

    def check_rest(self) -> None:
        resting, line = self.statuses(*SETTLED), self.statuses(*WAITS)
        assert resting == SETTLED and line == WAITS
        tree = {name: self.server.run(self.runs[name])["parent_run_id"] for name in ("fork", "refork", "fork asking")}
        assert tree == {"fork": self.runs["done"], "refork": self.runs["fork"], "fork asking": self.runs["asking"]}
        assert [self.server.state(self.runs[name])["n"] for name in ("done", "fork", "refork")] == [3, 12, 12]

    def finish(self) -> None:
        """People answer and resume; the place is given back."""
        server = self.server
        (server.folder / "done.txt").touch()
        for name in ("paused", "pausing", "parked"):
            server.status(self.runs[name], "paused")
            server.post(self.runs[name], "resume", status=202)
        for name in ("asking", "fork asking", "line", "parked"):
            server.status(self.runs[name], "awaiting-input")
            self.respond(name)
        ended = {name: server.ended(run) for name, run in self.runs.items()}
        assert ended.pop("soon")["error_class"] == "interrupt_timeout"
        assert [f"{name}: {one['error_class']}" for name, one in ended.items() if one["status"] != "done"] == []

    def check_all(self) -> None:
        """Every step of every run happened, in its order, and left its mark on the state."""
        ways = {name: [node for node, _ in nodes] for name, nodes in GRAPHS.items()}
        ways |= {"line": ["before", "ask", "bake", "after"], "ask": ["before", "ask", "after"], "outer": ["sub", "after"]}
        for name, run in self.runs.items():
            graph = self.server.run(run)["graph_id"].removeprefix("graph:")
            if name != "soon":
                assert self.server.route(run) == ways[graph], name
            if name not in ("soon", "fork", "refork"):
                assert self.server.state(run)["n"] == {"quick": 3, "walk": 5, "line": 3, "ask": 2, "outer": 3}[graph], name
        children = self.rows("SELECT parent_run, count(*) FROM runs WHERE parent_run <> '' GROUP BY parent_run")
        assert [number for _, number in children] == [1] * 6
        self.server.signal()
        assert self.rows("SELECT holder, name FROM slots WHERE name LIKE 'queue/%'") == []
        assert self.rows("SELECT id FROM jobs WHERE stream LIKE 'run:%'") == []


def live_through(folder: Path, kills: int) -> None:
    seed = int(os.environ.get("ASTRARIUM_SEED", "0")) or random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    kitchen = Kitchen(folder)
    try:
        for _ in range(kills):
            # Not a wait for something: the moment of the kill is random.
            time.sleep(moments.uniform(0.0, 0.6))
            kitchen.kill()
            kitchen.check_rest()
        kitchen.finish()
        kitchen.check_all()
    finally:
        kitchen.server.close()


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_two_kills(tmp_path: Path) -> None:
    live_through(tmp_path, 2)


@pytest.mark.all
@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ten_kills(tmp_path: Path) -> None:
    live_through(tmp_path, 10)
