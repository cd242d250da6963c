"""Telling people and other servers of runs: a delivery is a run of its own, of one step, on the surface `notices`.

The run machine owes `send_notices` in the transaction of the event that is told. The job composes the message and begins the deliveries;
their tries, waits, time-outs and recovery are those of any run. A delivery's graph has no notices, so nothing tells of it.
It starts with what the told run resolved (`ForkRun`), cut down to what its templates name; secrets stay references until a try.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ....config import Settings
from ....errors import AstrariumError, Conflict, Unavailable
from ....kernel.machine import Registry
from ....kernel.slots import PlainJob
from ....kernel.types import Command, Job
from ....runs.message import ForkRun, Resolved, RunEnded, StartRun, StepDelayed
from ....runs.ports import Step
from ....runs.state import RunState
from ....runs.work.workshop import check_graph, step_file
from ....spec import notice as spec
from ....spec.graph import Graph, Notice, encode_graph, graph_hash
from ....spec.ids import uuid7
from ....store.log import run_folder, try_file
from ..problem import PREFIX
from ..views.run import shown_time
from ..views.status import NODE_LABELS, RUN_LABELS, RUNNING, WAITING, node_status, run_status
from .bound import Bound

log = logging.getLogger("astrarium.notices")
SURFACE = "notices"
ATTACHED_BYTES = 10 * 1024 * 1024
"""Most bytes of logs attached to one mail."""
EVENT_NAMES = {"success": "run.success", "failure": "run.failure", "abort": "run.abort", "wait": "run.wait"}


class SendNotices(PlainJob, Bound):
    """Begins the deliveries that are due. `bind` hands in the engine; `finish` waits for the first try of each."""

    name = "send_notices"

    def __init__(self, settings: Settings, steps: Mapping[str, Step]) -> None:
        self._settings = settings
        self._steps = steps
        super().__init__()
        self._under_way: set[str] = set()
        self._quiet = asyncio.Event()

    def register(self, registry: Registry) -> None:
        registry.add_kind(self)
        registry.listen(StepDelayed, self._tried)
        registry.listen(RunEnded, self._tried)

    async def finish(self, timeout_s: float) -> None:
        """Wait until every delivery begun here was tried once. For a process that ends with its run; what is left is owed, and the next
        process on this store goes on with it."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._under_way:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            log.warning("%d notices are still being delivered: the next server goes on with them", len(self._under_way))

    def _tried(self, stream: str, event: Any) -> None:
        self._under_way.discard(stream)
        self._quiet.set()

    def carry_out(self, job: Job) -> Any:
        self._under_way.add(job.id)
        return self._send(job)

    def broke(self, job: Job, error: Exception) -> Any | None:
        log.error("the notices of %s (%s) could not be made: %s", job.stream, job.body.get("what"), error)
        return None

    async def _send(self, job: Job) -> None:
        try:
            engine = await self.engine()
            state: RunState | None = await engine.state(job.stream, await engine.scope_of(job))
            if state is None:
                return
            no = int(job.body["no"])
            step = state.node(no).name if no >= 0 and no in state.steps else ""
            for place in spec.due(state.known.graph, job.body["on"], step):
                await self._begin(state, job, place, step)
        finally:
            self._tried(job.id, None)

    async def _begin(self, state: RunState, job: Job, place: int, step: str) -> None:
        """One delivery, begun once however often the job is carried out."""
        engine = await self.engine()
        notice = state.known.graph.notices[place]
        run = uuid7()
        key = f"notice:{state.run}:{job.body['round']}:{job.body['what']}:{place}"
        order, data = await asyncio.to_thread(self._order, state, job, notice, step)
        self._under_way.add(f"run:{run}")
        try:
            begun = await engine.submit(Command(f"run:{run}", order, state.scope, key=key), [("graph", data)])
            if begun.replayed:
                self._tried(f"run:{run}", None)
        except Unavailable:
            self._tried(f"run:{run}", None)
            raise
        except Conflict:  # begun before a crash, when other logs were there to attach
            self._tried(f"run:{run}", None)
        except AstrariumError as error:
            self._tried(f"run:{run}", None)
            log.error("a notice of run %s of %s could not be begun: %s", state.alias, state.name, error)

    def _order(self, state: RunState, job: Job, notice: Notice, step: str) -> tuple[ForkRun, bytes]:
        files, left_out = attachments(state, self._settings.data_dir / "logs") if notice.attach_logs else ([], [])
        more = f"Not attached, because they are too large: {', '.join(left_out)}" if left_out else ""
        told = tell(state, job.body, step, self._settings.public_url, more)
        settings = self._settings
        graph = spec.delivery(state.known.graph, notice, len(files), tries=settings.notice_tries, retry_s=settings.notice_retry_s)
        check_graph(graph, self._steps)
        data = encode_graph(graph)
        labels = {"event": told.event, "kind": notice.kind, "to": shown_target(notice), "step": step}
        start = StartRun(
            graph_hash(data), state.name, SURFACE, state.alias, trigger="notice", depth=0,
            labels={name: text for name, text in labels.items() if text},
        )  # fmt: skip
        return ForkRun(start, state.run, state.round, -1, resolved=known_to(state, graph, told, files)), data


def known_to(state: RunState, graph: Graph, told: spec.Told, files: list[str]) -> Resolved:
    """What the templates of a delivery may name: the message, and of the told run's variables and secrets those they mention."""
    names = spec.mentioned(graph.nodes[0].params)
    resolved = state.resolved
    prepare = state.known.graph.prepare
    secrets = resolved.secrets or (prepare.secrets if prepare is not None else ())
    facts = spec.variables(told, files)
    return Resolved(
        params=resolved.params,
        params_json=resolved.params_json,
        env=tuple((name, text) for name, text in (*resolved.env, *facts) if name in names),
        secrets=tuple(secret for secret in secrets if secret["name"] in names),
    )


def tell(state: RunState, body: Mapping[str, Any], step: str, public_url: str, more: str = "") -> spec.Told:
    """What happened, as a reader of the DAG surface would be told it."""
    on = body["on"]
    event = "step.failure" if step and on == "failure" else EVENT_NAMES[on]
    ended = event not in ("step.failure", "run.wait")
    status = run_status("ended", body["outcome"], "", "") if ended else WAITING if on == "wait" else RUNNING
    link = f"{public_url.rstrip('/')}{PREFIX}/dag-runs/{quote(state.name, safe='')}/{quote(state.alias, safe='')}"
    params = " ".join(f"{name}={text}" if name else text for name, text in state.resolved.params) or state.params
    return spec.Told(
        event, state.name, state.alias, status, RUN_LABELS[status], list(told_steps(state)), body["reason"] or state.resolved.error,
        int(body["round"]), params, shown_time(state.queued_at or state.created_at), shown_time(state.began_at),
        shown_time(int(body["at"])) if ended else "", link if public_url else "", step, more,
    )  # fmt: skip


def told_steps(state: RunState) -> Iterator[spec.ToldStep]:
    for step in sorted(state.steps.values(), key=lambda one: one.no):
        status = node_status(step.status, step.outcome or "", partial=step.partial, marked=step.tolerated and step.marked)
        yield spec.ToldStep(
            state.node(step.no).name, NODE_LABELS[status], shown_time(step.started_at), shown_time(step.ended_at), step.error,
            step.exit_code,
        )  # fmt: skip


def attachments(state: RunState, logs: Path) -> tuple[list[str], list[str]]:
    """The log files of the newest try of each step, as many as fit, and the names of those that do not."""
    found: list[str] = []
    left_out: list[str] = []
    room = ATTACHED_BYTES
    for step in sorted(state.steps.values(), key=lambda one: one.no):
        if not step.try_no:
            continue
        name, origin = state.node(step.no).name, step.origin
        folder = run_folder(logs, origin.run, origin.created_at) if origin else run_folder(logs, state.run, state.created_at)
        part, number = step_file(origin.round if origin else step.round, name), origin.try_no if origin else step.try_no
        for path in (try_file(folder, part, number, "out"), try_file(folder, part, number, "err")):
            size = path.stat().st_size if path.is_file() else 0
            if 0 < size <= room:
                found.append(str(path))
                room -= size
            elif size:
                left_out.append(f"{path.name} ({size:,} bytes)")
    return found, left_out


def shown_target(notice: Notice) -> str:
    """Whom a delivery is for, as its list shows it: addresses as the DAG writes them; of a webhook's address, which may hold a secret,
    only the host."""
    if notice.kind != "webhook":
        return ", ".join(notice.params.get("to", ()))
    url = str(notice.params.get("url", ""))
    scheme, mark, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2].partition('?')[0]}" if mark else url
