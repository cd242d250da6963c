"""What must hold in every world."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from astrarium.errors import Unavailable
from astrarium.kernel.memory import Memory
from astrarium.kernel.record.things import Things
from astrarium.runs.message import EVENTS, RunForked, StepDelayed, StepEnded, StepStarted
from astrarium.runs.row import RUNS, STEPS, all_rows
from astrarium.runs.run import RunMachine
from astrarium.runs.state import RunState
from tests.sim.server import make_registry

if TYPE_CHECKING:
    from tests.sim.world import World

MACHINE = RunMachine()
_UNION: Any = EVENTS[0]
for _event in EVENTS[1:]:
    _UNION = _UNION | _event
DECODER = msgspec.json.Decoder(_UNION)


def fail(world: World, what: str) -> None:
    from tests.sim.world import WorldError

    raise WorldError(what)


async def read_on(world: World) -> None:
    """A client that follows the log, is cut off at random, and resumes by position, at any server."""
    after = 0
    while True:
        server = world.pick()
        if server is None:
            await asyncio.sleep(0.2)
            continue

        async def follow(server: Any = server) -> None:
            nonlocal after
            left = world.random.randrange(5, 400)
            async for event in server.engine.tail.follow("main", after):
                world.seen.append(event.position)
                after = event.position
                left -= 1
                if not left:
                    return

        reading = server.run(follow())
        await asyncio.wait({reading})
        if not reading.cancelled() and reading.exception() is not None and not isinstance(reading.exception(), Unavailable):
            world.wrong.append(f"a reader broke: {reading.exception()!r}")


# -- states as the log says ---------------------------------------------------------------------------------------------


def run_ids(world: World) -> list[str]:
    return [row[0] for row in world.disk.rows("SELECT DISTINCT stream FROM events WHERE stream LIKE 'run:%' ORDER BY stream")]


async def load_states(world: World) -> dict[str, RunState]:
    """Every run as a server that has just started would load it."""
    from tests.sim.wish import SCOPE

    registry = make_registry()
    memory = Memory(world.disk.store, registry, Things(world.disk.store, registry), 1_000_000)
    streams = run_ids(world)
    await memory.load_many(streams, SCOPE)
    return {stream.partition(":")[2]: memory.hot[stream].state for stream in streams}


def events_of(world: World) -> dict[str, list[tuple[int, Any]]]:
    found: dict[str, list[tuple[int, Any]]] = {}
    for stream, at, body in world.disk.rows("SELECT stream, at, body FROM events WHERE stream LIKE 'run:%' ORDER BY position"):
        found.setdefault(stream.partition(":")[2], []).append((at, DECODER.decode(body)))
    return found


# -- while it lives -------------------------------------------------------------------------------------------------------


async def waits(world: World, when: str) -> None:
    """Every unfinished life has a job, a timer, a person or a child it waits for; rows are as the log says."""
    states = await load_states(world)
    check_rows(world, states)
    check_positions(world)
    jobs = {row[0]: row for row in world.disk.rows("SELECT id, kind, stream, owner, not_before FROM jobs")}
    leases = set(world.disk.rows("SELECT stream, worker FROM leases"))
    lines = {(row[0], row[1]) for row in world.disk.rows("SELECT name, holder FROM slots")}
    told = [what for run, state in states.items() for what in unfinished(world, run, state, jobs, leases, lines, states)]
    told.extend(lost_jobs(world, jobs))
    told.extend(stale_jobs(world, states, jobs))
    if told:
        fail(world, f"{when}: " + "; ".join(told[:6]))
    check_slots(world, states)
    check_hot(world, states)


def unfinished(
    world: World, run: str, state: RunState, jobs: dict[str, Any], leases: set[tuple[Any, ...]], lines: set[tuple[str, str]],
    states: dict[str, RunState],
) -> Iterator[str]:
    """What of a run waits for nothing."""
    if state.status in ("ended", "paused", "parked"):
        return
    if state.in_line:
        if (f"queue/{state.queue}", f"run:{run}") not in lines:
            yield f"{run} waits for its place ({state.status}) and is in no line"
        return
    if state.due and state.status == "running" and f"{run}/due/{state.due}" not in jobs:
        yield f"{run} may take until {state.due} and has no timer"
    open_ = [step for step in state.steps.values() if step.status not in ("done", "idle")]
    if state.status == "pausing" and not any(step.status == "running" for step in open_):
        yield f"{run} is pausing and nothing of it runs"
    if not open_ and f"{run}/prepare" not in jobs:
        yield f"{run} is {state.status}, has no open step and nothing to prepare"
    for step in open_:
        job = jobs.get(f"{run}/{step.no}")
        if step.status == "running":
            yield from unheld(world, run, step, leases)
        if step.status in ("offered", "delayed") and job is None and state.status != "pausing":
            yield f"step {step.no} of {run} is {step.status} without a job ({state.status})"
        if step.status == "ready" and state.status == "running" and not state.active:
            yield f"step {step.no} of {run} is ready and nothing frees a place"
        if step.status == "asking" and step.until and jobs.get(f"{run}/{step.no}/ask") is None:
            yield f"step {step.no} of {run} asks with a time limit but without a timer"
        held_back = state.status == "pausing" and step.children is not None and not step.children.open  # until the run is resumed
        if step.status == "parent" and not held_back and not any(waited_for(run, state, step, jobs, states)):
            yield f"step {step.no} of {run} waits for children that do not exist"


def unheld(world: World, run: str, step: Any, leases: set[tuple[Any, ...]]) -> Iterator[str]:
    """A try has a lease that leads to it after a crash, and a live worker knows of its own tries."""
    if (f"run:{run}", step.worker) not in leases:
        yield f"step {step.no} of {run} runs at {step.worker}, which has no lease"
    for server in world.servers:
        jobs = server.engine.jobs
        known = any(f"{run}/{step.no}" in some for some in (jobs._running, jobs._starting, jobs._claiming))
        if server.name == step.worker and server.ready and world.disk.alive(server.name) and not known:
            yield f"step {step.no} of {run} runs at {step.worker}, which does not know it"


def waited_for(run: str, state: RunState, step: Any, jobs: dict[str, Any], states: dict[str, RunState]) -> Iterator[bool]:
    for index in range(step.children.next):
        yield f"{run}/{step.no}/{index}" in jobs
    for child, other in states.items():
        parent = other.parent
        if parent is not None and (parent.run, parent.no) == (run, step.no):
            yield other.status != "ended" or f"{child}/tell" in jobs


def lost_jobs(world: World, jobs: dict[str, Any]) -> Iterator[str]:
    """Jobs owned by a server that knows nothing of them, or by nobody though they were due long ago and somebody has nothing else to do
    first. Servers whose lease is over do not count, even if they do not know it yet."""
    alive = {server.name: server.engine.jobs for server in world.servers if server.ready and world.disk.alive(server.name)}
    free = any(not mine._left for mine in alive.values())
    for id_, kind, _, owner, not_before in jobs.values():
        if owner in alive:
            mine = alive[owner]
            if id_ not in mine._known() and id_ not in mine._claimed:  # the lives of the claimed are being read
                yield f"{kind} {id_} is owned by {owner}, which does not know it"
        elif not owner and free and not_before < world.clock.now() - 1_000_000:
            yield f"{kind} {id_} was due long ago and nobody claims it"


def stale_jobs(world: World, states: dict[str, RunState], jobs: dict[str, Any]) -> Iterator[str]:
    """Rows a dead server owned go when they are taken over."""
    alive = {"", *(server.name for server in world.servers)}
    of_a_run = ("run_step", "ask_due", "run_due", "start_child", "prepare_run")
    for id_, kind, stream, owner, _ in jobs.values():
        state = states.get(stream.partition(":")[2])
        if state is not None and state.status == "ended" and kind in of_a_run and owner in alive:
            yield f"{kind} {id_} is left of a run that ended"


def check_rows(world: World, states: dict[str, RunState]) -> None:
    """The fold of the log is what readers are told."""
    runs = {row[0]: row for row in world.disk.rows(f"SELECT {names(RUNS)} FROM runs")}
    steps = {row[:3]: row for row in world.disk.rows(f"SELECT {names(STEPS)} FROM steps")}
    for state in states.values():
        for of, row in all_rows(state):
            there = runs.get(row[0]) if of is RUNS else steps.get(row[:3])
            if there != row:
                fail(world, f"the log says {row}, the table {of.name} says {there}")
    if len(runs) != len(states):
        fail(world, f"{len(states)} runs in the log, {len(runs)} in the table")


def names(of: Any) -> str:
    return ", ".join(f'"{column.name}"' for column in of.columns)


def check_hot(world: World, states: dict[str, RunState]) -> None:
    """What servers hold in memory is what the log says."""
    heads = dict(world.disk.rows("SELECT stream, seq FROM heads"))
    for server in world.servers:
        if not server.ready:
            continue
        for stream, hot in server.engine.memory.hot.items():
            if stream.startswith("run:") and hot.seq and hot.seq == heads.get(stream):
                said, there = MACHINE.dump(hot.state), MACHINE.dump(states[stream.partition(":")[2]])
                if said != there:
                    fail(world, f"{server.name} holds {said!r}, the log says {there!r}")


def check_positions(world: World) -> None:
    count, low, high = world.disk.rows("SELECT count(*), min(position), max(position) FROM events")[0]
    head = world.disk.rows("SELECT position FROM log_heads WHERE workspace = 'main'")
    if count and (low != 1 or high != count or head[0][0] != high):
        fail(world, f"{count} events have positions {low} to {high}, the head says {head}")
    for stream, number, last, seq in world.disk.rows(
        "SELECT e.stream, count(*), max(e.seq), h.seq FROM events e LEFT JOIN heads h ON h.stream = e.stream GROUP BY e.stream"
    ):
        if not number == last == seq:
            fail(world, f"{stream} has {number} events up to {last}, its head says {seq}")


def check_slots(world: World, states: dict[str, RunState]) -> None:
    """Slots hold only what live runs hold, no more than their limits, and nobody waits while there is room."""
    from tests.sim.wish import STEADY

    held: Counter[str] = Counter()
    line: Counter[str] = Counter()
    limits: dict[str, int] = {}
    there = set()
    granted = {row[0] for row in world.disk.rows("SELECT id FROM jobs WHERE kind = 'slot_granted'")}
    for name, holder, place in world.disk.rows("SELECT name, holder, state FROM slots ORDER BY name, holder"):
        limits.setdefault(name, int(place.partition(":")[2]))  # the row of a changed limit comes first
        if not holder:
            continue
        state = states[holder.partition(":")[2]]
        kind = place.partition(":")[0]
        there.add((name, holder))
        if not name.startswith("run-id/") and state.status == "ended":
            fail(world, f"{holder} ended and is still {kind} in {name}")
        if name == f"queue/{state.queue}" and state.rests:
            fail(world, f"{holder} rests and is still {kind} in {name}")
        if name == f"queue/{state.queue}" and state.in_line and kind == "held" and f"{holder}:{name}" not in granted:
            fail(world, f"{holder} holds {name} and is not told")
        (held if kind == "held" else line)[name] += 1
    for name, limit in limits.items():
        steady = not name.startswith("queue/") or name == f"queue/{STEADY}"
        if steady and 0 < limit < held[name]:
            fail(world, f"{name} has {held[name]} holders, {limit} are allowed")
        if line[name] and not 0 < limit <= held[name]:
            fail(world, f"{name} has {held[name]} of {limit} holders, and {line[name]} wait")
        if not held[name] + line[name]:
            fail(world, f"{name} is empty and its limit is still noted")
    for run, state in states.items():
        if state.status != "ended" and (f"active/dags/{state.name}", f"run:{run}") not in there:
            fail(world, f"{run} is {state.status} and does not count as active")
        goes = state.status in ("running", "pausing") and not state.aside and not state.rests
        if state.queue and goes and (f"queue/{state.queue}", f"run:{run}") not in there:
            fail(world, f"{run} goes on and has no place in {state.queue}")


# -- at the end -----------------------------------------------------------------------------------------------------------


async def everything(world: World) -> None:
    """Nothing lost, nothing recorded twice."""
    await waits(world, "at the end")
    states, events = await load_states(world), events_of(world)
    for run, state in states.items():
        check_fold(world, run, state, events[run])
        check_tries(world, run, state, [body for _, body in events[run]])
    check_effects(world, events)
    check_receipts(world, events)
    head = world.disk.rows("SELECT max(position) FROM events")[0][0]
    if world.seen != list(range(1, head + 1)):
        gap = next((n for n, position in enumerate(world.seen, 1) if n != position), len(world.seen))
        fail(world, f"a resuming reader saw {len(world.seen)} events of {head}; it goes wrong at {gap}")
    left = world.disk.rows("SELECT id, kind FROM jobs")
    if left:
        fail(world, f"jobs left at the end: {left[:5]}")


def check_fold(world: World, run: str, loaded: RunState, events: list[tuple[int, Any]]) -> None:
    """The log alone gives the same state as snapshot and tail, and a dump is loaded as it was."""
    from tests.sim.wish import SCOPE

    state = MACHINE.new(f"run:{run}", SCOPE)
    state.known = loaded.known
    for at, body in events:
        MACHINE.evolve(state, body, at)
    whole, short = MACHINE.dump(state), MACHINE.dump(loaded)
    if whole != short:
        fail(world, f"run {run}: the log says {whole!r}, snapshot and tail say {short!r}")
    again = MACHINE.load(f"run:{run}", SCOPE, whole, {state.graph: state.known})
    if MACHINE.dump(again) != whole:
        fail(world, f"run {run} is not loaded as it was dumped: {whole!r}")


def check_tries(world: World, run: str, state: RunState, events: list[Any]) -> None:
    """Tries count up one by one, each visit ends once in a round."""
    tries: dict[int, int] = {}
    over: set[int] = set()
    for body in events:
        kind = type(body).__name__
        if kind == "RunReopened":
            over = over - set(body.reset)
            for no in body.reset:
                tries.pop(no, None)
            if state.known.graph.router == "rules":
                over.clear()
                tries.clear()
        elif kind == "StepMarked":
            over.discard(body.no)
        elif kind == "StepAsked":
            for move in body.moves:
                over.discard(move.no)
                tries.pop(move.no, None)
        elif type(body) is RunForked:
            over = {kept.no for kept in body.fork.steps}
        elif type(body) is StepStarted:
            if body.try_no != tries.get(body.no, 0) + 1 and body.try_no != 1:
                fail(world, f"run {run} step {body.no}: try {body.try_no} follows {tries.get(body.no, 0)}")
            if body.no in over:
                fail(world, f"run {run} step {body.no} starts again after its end")
            tries[body.no] = body.try_no
        elif type(body) is StepEnded:
            if body.no in over:
                fail(world, f"run {run} step {body.no} ended twice")
            over.add(body.no)


def check_effects(world: World, events: dict[str, list[tuple[int, Any]]]) -> None:
    """A try is executed at most once and was recorded; one that is not idempotent is executed again only after a failure."""
    started: set[tuple[str, int, int, int]] = set()
    for run, log in events.items():
        round_no = 1
        for _, body in log:
            if type(body).__name__ == "RunReopened":
                round_no = body.round
            elif type(body) is StepStarted:
                started.add((run, round_no, body.no, body.try_no))
    seen: Counter[tuple[str, int, int, int]] = Counter(
        (effect.run, effect.round, effect.no, effect.try_no) for effect in world.effects
    )
    # a waiting room's teller may be visited again in a round, with its tries counted anew
    for key, number in seen.items():
        if number > 1 and not told_again(events[key[0]], key[2]):
            fail(world, f"try {key} was executed {number} times")
        if key not in started:
            fail(world, f"try {key} was executed without a record")
    for run, log in events.items():
        check_again(world, run, log)


def told_again(log: list[tuple[int, Any]], no: int) -> bool:
    return any(getattr(move, "no", None) == no for _, body in log if type(body).__name__ == "StepAsked" for move in body.moves)


def check_again(world: World, run: str, log: list[tuple[int, Any]]) -> None:
    born = log[0][1]
    name = (born.fork.start if type(born) is RunForked else born.start).name
    nodes = world.graphs[name].nodes
    where: dict[int, int] = {}
    for _, body in log:
        for move in getattr(body, "moves", ()):
            if hasattr(move, "node"):
                where[move.no] = move.node
        again = type(body) is StepDelayed and body.why == "lost" and "never" not in body.error
        if again and nodes[where[body.no]].kind in ("work", "free"):
            fail(world, f"run {run} step {body.no} is not idempotent and was lost, yet it runs again: {body}")


def check_receipts(world: World, events: dict[str, list[tuple[int, Any]]]) -> None:
    """What was answered is in the log; a key made one run."""
    made: dict[str, set[str]] = {}
    for command, receipt in world.acked:
        log = [body for _, body in events.get(receipt.stream.partition(":")[2], ())][: receipt.seq]
        left = iter(log)
        if not all(any(one == body for one in left) for body in receipt.events):
            fail(world, f"{receipt} was answered and is not in the log")
        if type(command.body).__name__ == "StartRun":
            made.setdefault(command.key, set()).add(receipt.stream)
    twice = [key for key, streams in made.items() if len(streams) > 1]
    if twice:
        fail(world, f"keys that made two runs: {twice}")
    aliases = world.disk.rows("SELECT alias, count(*) FROM runs WHERE parent_run = '' GROUP BY alias HAVING count(*) > 1")
    children = world.disk.rows(
        "SELECT parent_run, alias, count(*) FROM runs WHERE parent_run <> '' GROUP BY parent_run, alias HAVING count(*) > 1"
    )
    if aliases or children:
        fail(world, f"runs made twice: {aliases[:5]} {children[:5]}")


def stuck(world: World) -> str:
    """The runs that never end, with what is known of them."""
    told = []
    for run, name, status, reason in world.disk.rows("SELECT id, name, status, reason FROM runs WHERE status <> 'ended' LIMIT 4"):
        steps = world.disk.rows("SELECT no, status, tries, worker FROM steps WHERE run = ? AND status NOT IN ('done', 'idle')", (run,))
        jobs = world.disk.rows("SELECT id, kind, owner, not_before FROM jobs WHERE stream = ?", (f"run:{run}",))
        told.append(f"{name} {run} is {status} {reason}: steps {steps}, jobs {jobs}")
    jobs = world.disk.rows("SELECT id, kind, stream, owner, not_before FROM jobs LIMIT 5")
    return f"stuck: {' | '.join(told)} | jobs {jobs} | in flight {Counter(world.flying.values())}"
