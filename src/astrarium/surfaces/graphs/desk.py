"""Orders of clients into commands to runs, and what they are refused in Stargraph's words."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ...errors import Conflict, Forbidden, Invalid, NotFound, Problem, Refused
from ...kernel.audit import act
from ...kernel.engine import Engine
from ...kernel.types import Actor, Command, Scope
from ...runs import message as m
from ...runs.fork import Changes, fork_run
from ...runs.past.mutate import Mutation
from ...runs.past.resume import resume_run
from ...runs.ports.code import CODES
from ...runs.row import shown_status
from ...runs.state import RunState
from ...runs.work.tool.use import LIVE_LABEL
from ...spec.graph import Graph
from ...spec.ids import uuid7
from ...spec.ir.check.node import CODE_KIND
from ...spec.ir.hash import content_hash, fork_hash
from ...web.caller import LOCAL_OWNER, Caller
from . import wire
from .catalog import Catalog, Entry, NewThing
from .views import query
from .views.query import SURFACE, RunRow
from .views.run import HASH_LABEL, REASON_LABEL, RunViews, labels_of
from .views.status import AWAITING, PAUSED, PENDING, RUNNING, status_of

CANCELLED_FROM = (PENDING, RUNNING, PAUSED, AWAITING)
PAUSED_FROM = (PENDING, RUNNING)
ANSWERED_FROM = (AWAITING,)
KEY_PREFIX = "v1/runs/"
_SLUG = re.compile(r"[^a-z0-9_]+")
SLUG_LENGTH = 16
LIVE = "admin"
"""Who may let a fork call what changes the world again."""
DAY_US = 86_400_000_000

Denied = Callable[[Caller, str, str, str], Awaitable[None]]


class Begun(NamedTuple):
    """`replayed`: the key was used before, and nothing was begun."""

    run: str
    status: wire.Status
    replayed: bool


def run_alias(graph_id: str, workspace: str, key: str) -> str:
    """What clients know a run by: of the graph's name what may stand in a path, and 64 bits, those of the key if there is one."""
    slug = _SLUG.sub("-", graph_id.lower().removeprefix("graph:")).strip("-")[:SLUG_LENGTH].strip("-") or "graph"
    digest = (
        hashlib.blake2b(f"{workspace}\n{graph_id}\n{key}".encode(), digest_size=8).hexdigest() if key else secrets.token_hex(8)
    )
    return f"run-{slug}-{digest}"


class Desk:
    """One server's graphs. `denied` records that somebody lacks a capability."""

    def __init__(self, engine: Engine, catalog: Catalog, denied: Denied) -> None:
        self.engine = engine
        self.catalog = catalog
        self.views = RunViews(engine)
        self._denied = denied

    async def row(self, caller: Caller, alias: str) -> RunRow:
        return await query.find_run(self.engine.store, caller.scope, alias)

    async def summary(self, row: RunRow) -> wire.GraphRun:
        """The run as it is now."""
        return await self.views.summary(await query.find_run(self.engine.store, row.scope, row.id))

    # -- starting -----------------------------------------------------------------------------------------------------

    async def start(self, caller: Caller, ask: wire.StartGraphRun, key: str) -> Begun:
        """Begin a run for a client; see `begin`."""
        with placed("state", "body.inputs" if ask.params is None else "body.params"):
            return await self.begin(caller.scope, caller.actor, ask.graph_id, seed_of(ask), key, ask.trigger_source)

    async def begin(self, scope: Scope, actor: Actor, graph_id: str, seed: Mapping[str, Any], key: str, trigger: str) -> Begun:
        """Begin a run. With a `key` only once in 24 hours: then how the run stands that began with it. Raises `NotFound`, `Invalid` (at
        `state`), `Conflict`: the key was used for something else."""
        entry = await self.catalog.fresh(graph_id)
        dated = await self._dated(scope, key) if key else ""
        alias = run_alias(entry.id, scope.workspace, dated)
        order = start_order(entry, seed, alias, trigger)
        begin = Command(f"run:{uuid7()}", order, scope, actor, dated)
        try:
            receipt = await self.engine.submit(begin, entry.things)
        except Conflict as error:
            if not key:
                raise
            told = f"idempotency key {key[:100]!r} was used for another request"
            raise Conflict(told, code="idempotency_conflict", hint="use a new key for a new request") from error
        if not receipt.replayed:
            return Begun(alias, "pending", False)
        row = await query.find_run(self.engine.store, scope, receipt.stream.partition(":")[2])
        return Begun(row.alias, status_of(row.status, row.outcome, row.waiting), True)

    async def _dated(self, scope: Scope, key: str) -> str:
        """The key with the day it was first used on: yesterday's, as long as that is not 24 hours ago."""
        now = self.engine.clock.now()
        today, before = (f"{KEY_PREFIX}{now // DAY_US - back}/{key}" for back in (0, 1))
        rows = await self.engine.store.read("SELECT at FROM receipts WHERE workspace = ? AND key = ?", (scope.workspace, before))
        return before if rows and rows[0][0] > now - DAY_US else today

    # -- while it lives -----------------------------------------------------------------------------------------------

    async def cancel(self, caller: Caller, row: RunRow, grace_s: float | None) -> None:
        state = await self._state(row)
        shown = shown_of(state)
        if shown not in CANCELLED_FROM and not (state.status == "stopping" and grace_s is not None):
            raise wrong_state("cancel", shown, CANCELLED_FROM)
        mode: m.StopMode = "cooperative" if state.known.shape is not None else "signal"
        await self._order(caller, row, m.StopRun("cancelled", "user", mode, grace_s), "cancel", CANCELLED_FROM)

    async def pause(self, caller: Caller, row: RunRow) -> None:
        state = await self._state(row)
        shown = shown_of(state)
        if shown not in PAUSED_FROM:
            raise wrong_state("pause", shown, PAUSED_FROM)
        if state.status == "pausing":
            return
        await self._order(caller, row, m.PauseRun(), "pause", PAUSED_FROM)

    async def resume(self, caller: Caller, row: RunRow, place: int | None) -> None:
        """Go on after the last step that ended, or after the one at `place`. Raises `Refused`: `missing-step`, `graph-hash-mismatch`."""
        state = await self._state(row)
        shown = shown_of(state)
        if shown in (PENDING, RUNNING, AWAITING) or state.status == "stopping":
            raise wrong_state("resume", shown, ("paused", "error", "failed", "cancelled"))
        await self._check_version(row, state)
        try:
            await resume_run(self.engine, row.id, row.scope, place=place, actor=caller.actor)
        except Refused as error:
            if error.code in ("done", "running", "waiting"):
                raise wrong_state("resume", shown, ("paused", "error", "failed", "cancelled")) from error
            raise

    async def _check_version(self, row: RunRow, state: RunState) -> None:
        """The run goes on by its own definition. Where the graph of that name is another one by now, it must say that it takes the place
        of the run's (`migrate`); then code that has changed takes the place of what it was, too."""
        own = labels_of(row).get(HASH_LABEL, "")
        if row.surface != SURFACE or row.name not in self.catalog.entries or not own or row.forked_from:
            return
        entry = await self.catalog.fresh(row.name)
        if own == entry.hash:
            return
        if (own, entry.hash) not in entry.migrate:
            raise Refused(
                f"graph '{row.name}' has changed since the run began", code="graph-hash-mismatch",
                hint="start a new run, or give the graph a `migrate` entry",
                details={"expected_hash": own, "actual_hash": entry.hash, "migrate_available": bool(entry.migrate)},
            )  # fmt: skip
        await asyncio.to_thread(renew_code, state.known.graph)

    async def respond(self, caller: Caller, row: RunRow, ask: wire.RespondRun, path: str) -> None:
        """Answer what a run asks. Raises `Forbidden`, `Refused`, `Invalid`."""
        by = responder(caller, ask.actor)
        state = await self._state(row)
        asking = [step for step in state.steps.values() if step.status == "asking" and step.ask is not None]
        if not asking or shown_of(state) != AWAITING:
            raise wrong_state("respond", shown_of(state), ANSWERED_FROM)
        step = min(asking, key=lambda one: one.no)
        wanted = step.ask.capability if step.ask is not None else ""
        if wanted and not caller.may(wanted):
            await self._denied(caller, wanted, "respondRun", path)
            raise Forbidden(f"capability '{wanted}' not granted")
        answer = m.AnswerAsk(step.no, by, answer=ask.response)
        told = act(
            caller.scope, caller.actor, "run.respond", f"run:{row.id}", run=row.alias, by=by, body_hash=content_hash(ask.response)
        )
        try:
            with placed("state", "body.response"):
                await self.engine.submit_all([Command(f"run:{row.id}", answer, row.scope, caller.actor), told])
        except Refused as error:
            raise wrong_state("respond", shown_of(await self._state(row)), ANSWERED_FROM) from error

    # -- another past -------------------------------------------------------------------------------------------------

    async def fork(self, caller: Caller, row: RunRow, ask: wire.ForkRequest, path: str) -> wire.ForkedRun:
        """A run with this one's past up to a step, and something different. Raises `Refused` (`missing-step`), `Invalid`, `Forbidden`."""
        if ask.live_side_effects and not caller.may(LIVE):
            await self._denied(caller, LIVE, "forkGraphRun", path)
            raise Forbidden(f"capability '{LIVE}' not granted: side effects happen again only for who has it")
        told = msgspec.to_builtins(ask.mutation, str_keys=True)
        told |= {name: value for name, value in (("params", ask.params), ("outputs", ask.outputs)) if value is not None}
        derived = fork_hash(labels_of(row).get(HASH_LABEL, row.graph), told)
        labels = {HASH_LABEL: derived, LIVE_LABEL: "true" if ask.live_side_effects else ""}
        labels |= {REASON_LABEL: ask.reason[:500]} if ask.reason else {}
        alias = f"cf-{uuid.uuid4()}"
        state = await self._state(row)
        changes = self._changes(state, ask)
        graph, things = "", tuple[NewThing, ...]()
        if ask.mutation.rule_pack_version:
            entry = self._repinned(row, ask.mutation.rule_pack_version)
            graph, things = entry.stored, entry.things
        try:
            with placed("state", "body.mutation.state_overrides"), placed("outputs", "body.outputs"):
                await fork_run(
                    self.engine, row.id, row.scope, step=ask.step, changes=changes, actor=caller.actor, alias=alias, graph=graph,
                    things=things, labels=labels,
                )  # fmt: skip
        except NotFound as error:
            told_step = f"run '{row.alias}' has no ended step {ask.step}"
            raise Refused(told_step, code="missing-step", hint="`graph inspect` and GET …/steps tell which it has") from error
        return wire.ForkedRun(alias, row.alias, "pending", derived)

    def _changes(self, state: RunState, ask: wire.ForkRequest) -> Changes:
        mutation = ask.mutation
        if state.known.shape is None:
            given = {"state_overrides": mutation.state_overrides, "facts_assert": mutation.facts_assert,
                     "facts_retract": mutation.facts_retract, "respond_payloads": mutation.respond_payloads}  # fmt: skip
            wrong = [
                Problem("a run of a DAG has no state, facts or recorded answers to be changed", path=f"body.mutation.{name}",
                        hint="give `params`, `outputs` or node_output_overrides")
                for name, value in given.items() if value
            ]  # fmt: skip
            if wrong:
                raise Invalid(wrong[0].message, wrong)
            outputs = {name: text_of(patch) for name, patch in (mutation.node_output_overrides or {}).items()}
            return Changes(params=ask.params, outputs={**outputs, **(ask.outputs or {})} or None)
        if ask.params is not None or ask.outputs:
            problem = Problem(
                "is for runs of DAGs; give `mutation`", path="body.params" if ask.params is not None else "body.outputs"
            )
            raise Invalid(problem.message, [problem])
        made = Mutation(
            document=mutation.state_overrides or {}, said=tuple(mutation.facts_assert or ()), unsaid=tuple(mutation.facts_retract or ()),
            overrides=mutation.node_output_overrides or {}, answers=mutation.respond_payloads or {},
        )  # fmt: skip
        return Changes(mutation=made)

    def _repinned(self, row: RunRow, version: str) -> Entry:
        """The graph with its packs in that version. Raises `Invalid` where there is none."""
        entry = self.catalog.entries.get(row.name)
        if entry is None:
            problem = Problem(f"graph '{row.name}' is not offered any more", path="body.mutation.rule_pack_version")
            raise Invalid(problem.message, [problem])
        return self.catalog.repinned(entry, version)

    # -- common ground ------------------------------------------------------------------------------------------------

    async def _state(self, row: RunRow) -> RunState:
        await self.engine.refresh(f"run:{row.id}")
        state: RunState | None = await self.engine.state(f"run:{row.id}", row.scope)
        if state is None:
            raise query.not_found(row.alias)
        return state

    async def _order(self, caller: Caller, row: RunRow, body: Any, what: str, valid: tuple[str, ...]) -> None:
        """What was looked at before may have moved meanwhile."""
        try:
            await self.engine.submit(Command(f"run:{row.id}", body, row.scope, caller.actor))
        except Refused as error:
            raise wrong_state(what, shown_of(await self._state(row)), valid) from error


@contextlib.contextmanager
def placed(inner: str, outer: str) -> Iterator[None]:
    """What is wrong with the state is told by the place the client wrote it at."""
    try:
        yield
    except Invalid as error:
        problems = [
            msgspec.structs.replace(one, path=outer + one.path.removeprefix(inner)) if one.path.split(".")[0] == inner else one
            for one in error.problems
        ]
        raise Invalid(error.message, problems, code=error.code, hint=error.hint) from error


def start_order(entry: Entry, seed: Mapping[str, Any], alias: str, trigger: str) -> m.StartRun:
    """Keys of the seed that are no fields of the state are left out (Stargraph 0.8)."""
    state = {name: value for name, value in seed.items() if entry.fields is None or name in entry.fields}
    limit = entry.graph.max_active_runs
    return m.StartRun(
        entry.stored, entry.id, SURFACE, alias, trigger=trigger, queue=f"graph/{entry.id}" if limit > 0 else "", queue_limit=max(limit, 0),
        labels={HASH_LABEL: entry.hash}, state=state,
    )  # fmt: skip


def seed_of(ask: wire.StartGraphRun) -> dict[str, Any]:
    if ask.params is not None and ask.inputs is not None and ask.params != ask.inputs:
        problem = Problem(
            "`params` and `inputs` are two names of one thing, and differ", path="body.inputs", hint="give one of them"
        )
        raise Invalid(problem.message, [problem])
    return ask.params or ask.inputs or {}


def renew_code(graph: Graph) -> None:
    """Runs of a graph go on with the Python code that is there now."""
    for node in graph.nodes:
        if node.kind == CODE_KIND:
            for path, fingerprint, folder in (("class", "code", "folder"), ("state_class", "state_code", "state_folder")):
                if node.params.get(fingerprint):
                    CODES.replace(node.params[path], node.params.get(folder) or graph.base_dir, node.params[fingerprint])


def shown_of(state: RunState) -> wire.Status:
    status, waiting = shown_status(state)
    return status_of(status, state.outcome or "", waiting)


def wrong_state(what: str, shown: str, valid: tuple[str, ...]) -> Refused:
    return Refused(f"cannot {what} from state '{shown}'; valid states are {', '.join(valid)}", code="wrong_state")


def responder(caller: Caller, named: str | None) -> str:
    """Who answers: the caller. Another may be named only where nobody signs in. Raises `Forbidden`."""
    own = caller.shown
    if not named or named in (own, caller.actor.id, str(caller.actor)):
        return own
    if caller.actor == LOCAL_OWNER.actor:
        return named
    raise Forbidden(f"actor '{named[:100]}' is not the one who calls ('{own}')")


def text_of(patch: Mapping[str, Any]) -> str:
    """What a DAG's step shall have printed: the member `output`, or the whole as JSON."""
    output = patch.get("output")
    return output if isinstance(output, str) and len(patch) == 1 else msgspec.json.encode(patch).decode()
