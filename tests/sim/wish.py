"""What people of a simulated world ask for: orders to lives they fit, and new ones."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from astrarium.kernel.types import Actor, Command, Scope
from astrarium.runs.fork import Changes, fork_run
from astrarium.runs.message import AnswerAsk, MarkStep, PauseRun, ReopenRun, ResumeRun, StartRun, StopRun
from astrarium.runs.past.resume import resume_run
from tests.sim.step import hash_of

if TYPE_CHECKING:
    from tests.sim.server import Server
    from tests.sim.world import World

SCOPE = Scope("main", "local")
BY = Actor("user", "somebody")
COMMANDS = ("start", "stop", "pause", "resume", "reopen", "mark", "answer", "fork", "back", "time")
STEADY = "q1"
"""The queue that is never longer than its limit."""
FIT = {
    "pause": "IN ('running', 'waiting', 'queued')", "resume": "IN ('paused', 'pausing')", "stop": "<> 'ended'", "fork": "<> ''",
    "back": "IN ('paused', 'ended')", "reopen": "= 'ended'", "mark": "= 'ended'",
}  # fmt: skip
"""The statuses of runs an order of this kind is for."""


class Wish(NamedTuple):
    """How a server is asked; `command` where it is a plain one."""

    kind: str
    ask: Callable[[Server], Coroutine[Any, Any, Any]]
    command: Command | None = None


def order(kind: str, command: Command, things: Sequence[tuple[str, bytes]] = ()) -> Wish:
    return Wish(kind, lambda server: server.engine.submit(command, things), command)


def some_wish(world: World, kind: str) -> Wish:
    """An order of this kind to a life it fits, if there is one; else another start."""
    key = f"k{world.seed}.{len(world.acked)}.{world.random.randrange(1 << 30)}"
    keyed = key if world.random.random() < 0.7 else ""
    if kind == "answer":
        rows = world.disk.rows("SELECT run, no FROM steps WHERE status = 'asking' ORDER BY run, no")
        if rows:
            run, no = world.random.choice(rows)
            body = AnswerAsk(no, f"p{world.random.randrange(3)}", world.random.random() < 0.85, {"go": "on"})
            return order(kind, Command(f"run:{run}", body, SCOPE, BY, keyed))
    elif kind in FIT:
        rows = world.disk.rows(f"SELECT id, name FROM runs WHERE status {FIT[kind]} ORDER BY id")
        if rows:
            run, name = world.random.choice(rows)
            if kind == "fork":
                return some_fork(world, run, name, key)
            if kind == "back":
                return some_return(world, run)
            return order(kind, Command(f"run:{run}", some_body(world, kind, name), SCOPE, BY, keyed))
    return some_start(world, key)


def some_body(world: World, kind: str, name: str) -> Any:
    random = world.random
    if kind == "stop":
        mode, grace_s = random.choice(("signal", "signal", "cooperative")), random.choice((None, 0.0))
        return StopRun(mode=mode, grace_s=grace_s, if_queued=random.random() < 0.3)
    if kind == "pause":
        return PauseRun()
    if kind == "resume":
        return ResumeRun()
    node = random.randrange(len(world.graphs[name].nodes))
    if kind == "reopen":
        queue, limit, at_once = some_queue(world, 0.2)
        return ReopenRun(random.choice((None, None, node)), queue, limit, at_once)
    return MarkStep(node, random.choice((None, "succeeded", "failed")))


def some_fork(world: World, run: str, name: str, key: str) -> Wish:
    """Another run with this one's past; of a fork as of any other."""
    random, graph = world.random, world.graphs[name]
    ended = world.disk.rows("SELECT DISTINCT place FROM steps WHERE run = ? AND status = 'done' ORDER BY place", (run,))
    places: list[Any] = [place for (place,) in ended] if graph.router == "rules" else list(range(len(graph.nodes)))
    step = random.choice([None, *places])
    changes = Changes(document={"x": random.randrange(3)}) if graph.router == "rules" and random.random() < 0.5 else None
    return Wish("fork", lambda server: fork_run(server.engine, run, SCOPE, step=step, changes=changes, actor=BY, key=key))


def some_return(world: World, run: str) -> Wish:
    """The same run goes on from a step it has behind it."""
    ended = world.disk.rows("SELECT DISTINCT place FROM steps WHERE run = ? AND status = 'done' ORDER BY place", (run,))
    place = world.random.choice([None, *(place for (place,) in ended)])
    return Wish("back", lambda server: resume_run(server.engine, run, SCOPE, place=place, actor=BY))


def some_queue(world: World, share: float) -> tuple[str, int, bool]:
    """A queue to go through, for this share of the orders: one whose limit never changes and which nobody passes by, or one with a new
    limit each time and people who do not wait."""
    random = world.random
    if random.random() >= share:
        return "", 0, False
    if random.random() < 0.5:
        return STEADY, 2, False
    return "q2", random.choice((0, 1, 1, 2, 3)), random.random() < 0.3


def some_start(world: World, key: str) -> Wish:
    random = world.random
    name = random.choice(sorted(world.graphs))
    world.started += 1
    queue, limit, at_once = some_queue(world, 0.35)
    alias = f"a{world.started}"
    body = StartRun(
        hash_of(world.graphs[name]), name, "dags", alias, chosen=random.random() < 0.5,
        max_active=random.choice((0, 0, 0, 8)), queue=queue, queue_limit=limit, at_once=at_once,
        priority=random.randrange(3),
    )  # fmt: skip
    run = f"run:{world.seed:08x}-{world.started:06}"
    return order("start", Command(run, body, SCOPE, BY, key), list(world.things.values()))
