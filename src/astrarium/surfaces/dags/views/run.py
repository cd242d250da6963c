"""Runs as readers see them: the summary, the details with a node per step, outputs, sub-runs, the grid of a history."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from ....kernel.engine import Engine
from ....kernel.ports import Store
from ....runs.message import Resolved
from ....spec import params as parameters
from ....spec.graph import Graph
from .. import wire
from . import definition, query
from .log import RunFiles
from .query import RunRow, StepRow
from .queue import held_up, waiting_for
from .status import NODE_LABELS, NOT_STARTED, RUN_LABELS, node_status, run_status

UNSET = "-"
"""How a node's missing time is shown (Dagu 1.30); a run's is empty."""
HANDLERS = {"on_success": "onSuccess", "on_failure": "onFailure", "on_cancel": "onCancel", "on_exit": "onExit"}
"""Field of a run → the handler's name, in the order of the history's grid."""
NODES_AT_ONCE = 500
"""Runs with more nodes are shown by a thread."""
STEPS_KEPT = 64
"""Graphs whose shown steps are kept."""
NO_LABELS = ("", "{}")
_labels = msgspec.json.Decoder(dict[str, str])
_resolved = msgspec.json.Decoder(Resolved)
QUARTER_US = 900_000_000


class _Params(msgspec.Struct):
    """Of what was resolved, only the parameters."""

    params: tuple[tuple[str, str], ...] = ()


_params = msgspec.json.Decoder(_Params)


class Relatives(NamedTuple):
    """Name and id of the run at the top and of the one above."""

    root: tuple[str, str]
    parent: tuple[str, str] = ("", "")


class SubRuns(NamedTuple):
    """The sub-runs of one step: of each place among them the present one, and those of `earlier` passes of a repeating step."""

    present: dict[int, wire.run.SubRun]
    earlier: list[wire.run.SubRun]

    def add(self, index: int, run: wire.run.SubRun) -> None:
        """Count one more; they come in the order in which they were made."""
        if index in self.present:
            self.earlier.append(self.present[index])
        self.present[index] = run


def shown_time(micros: int, unset: str = "") -> str:
    """RFC 3339 with the server's offset, milliseconds."""
    if not micros:
        return unset
    quarter, rest = divmod(micros, QUARTER_US)
    hour, minute, offset = _clock(quarter)
    seconds, rest = divmod(rest, 1_000_000)
    return f"{hour}{minute + seconds // 60:02}:{seconds % 60:02}.{rest // 1000:03}{offset}"


@lru_cache(maxsize=4096)
def _clock(quarter: int) -> tuple[str, int, str]:
    """The date and hour, the minute and the offset at the beginning of a quarter of an hour: within one, no zone changes them. A
    list of a thousand runs shows three thousand times."""
    local = datetime.fromtimestamp(quarter * 900, UTC).astimezone()
    text = local.isoformat()
    return text[:14], local.minute, text[19:]


def shown_params(row: RunRow) -> str:
    """`K=V K2=V2` once they are resolved; before, what the start gave."""
    params = _params.decode(row.resolved).params
    if not params:
        return row.params
    return parameters.to_text([parameters.Param(name, text) for name, text in params])


def resolved_of(row: RunRow) -> Resolved:
    return _resolved.decode(row.resolved)


def number(row: RunRow) -> int:
    return run_status(row.status, row.outcome, row.waiting, row.queue)


def no_summary(name: str) -> wire.run.RunSummary:
    """The summary of a DAG that never ran."""
    return wire.run.RunSummary("", "", "", name, NOT_STARTED, RUN_LABELS[NOT_STARTED], "", "", "")


def no_details(name: str) -> wire.run.RunDetails:
    return wire.run.RunDetails("", "", "", name, NOT_STARTED, RUN_LABELS[NOT_STARTED], "", "", "", nodes=[])


def summary_fields(row: RunRow, relatives: Relatives, log: str) -> dict[str, Any]:
    shown = number(row)
    ended = row.status == "ended"
    return {
        "root_dag_run_name": relatives.root[0],
        "root_dag_run_id": relatives.root[1],
        "parent_dag_run_name": relatives.parent[0],
        "parent_dag_run_id": relatives.parent[1],
        "dag_run_id": row.alias,
        "name": row.name,
        "status": shown,
        "status_label": RUN_LABELS[shown],
        "queued_at": shown_time(row.queued_at),
        "started_at": shown_time(row.began_at),
        "finished_at": shown_time(row.ended_at) if ended else "",
        "log": log,
        "params": shown_params(row),
        "trigger": row.trigger,
        "scheduled_at": _labels.decode(row.labels).get(query.SLOT_LABEL, "") if row.labels not in NO_LABELS else "",
    }


class RunViews:
    """Reads runs of one store. `files` says where a run's logs lie."""

    def __init__(self, engine: Engine, files: RunFiles) -> None:
        self._engine = engine
        self._files = files
        self._steps: OrderedDict[str, list[wire.step.Step]] = OrderedDict()

    @property
    def reader(self) -> Store:
        return self._engine.store

    async def graph(self, row: RunRow) -> Graph:
        """The definition the run executes."""
        found: Graph = (await self._engine.things.fetch([row.graph]))[row.graph].graph
        return found

    async def relatives(self, row: RunRow) -> Relatives:
        if not row.parent_run:
            return Relatives((row.name, row.alias))
        root, parent = await query.run_of(self.reader, row.root), await query.run_of(self.reader, row.parent_run)
        return Relatives((root.name, root.alias) if root else ("", ""), (parent.name, parent.alias) if parent else ("", ""))

    def summary(self, row: RunRow, why: str = "") -> wire.run.RunSummary:
        """The summary of a run that is nobody's child; `why` it waits."""
        relatives = Relatives((row.name, row.alias))
        return wire.run.RunSummary(**summary_fields(row, relatives, self._files.run_log(row)), waiting_for=why)

    async def summaries(self, rows: Sequence[RunRow]) -> list[wire.run.RunSummary]:
        """The summaries of a page of runs, each with why it waits."""
        why = await waiting_for(self.reader.read, rows)
        return [self.summary(row, why.get(row.id, "")) for row in rows]

    async def details(self, row: RunRow, steps: Mapping[int, StepRow] | None = None) -> wire.run.RunDetails:
        graph = await self.graph(row)
        found = steps if steps is not None else await query.step_rows(self.reader, row.id)
        subs: dict[int, SubRuns] = {}
        if any(node.kind == "child" for node in graph.nodes):
            for no, index, alias, params in await query.child_ids(self.reader, row.id):
                subs.setdefault(no, SubRuns({}, [])).add(index, wire.run.SubRun(alias, params))
        relatives = await self.relatives(row)
        if len(graph.nodes) > NODES_AT_ONCE:  # a large run must not hold up the others
            shown = await asyncio.to_thread(self._details, row, graph, found, subs, relatives)
        else:
            shown = self._details(row, graph, found, subs, relatives)
        if steps is None:  # of one run alone
            waits = await waiting_for(self.reader.read, [row])
            shown.waiting_for = waits.get(row.id) or await held_up(self._engine, row, found)
        return shown

    def _details(
        self, row: RunRow, graph: Graph, steps: Mapping[int, StepRow], subs: Mapping[int, SubRuns], relatives: Relatives
    ) -> wire.run.RunDetails:
        by_phase: dict[str, wire.run.Node] = {}
        main: list[wire.run.Node] = []
        for node, shown in zip(graph.nodes, self._nodes(row, graph, steps, subs), strict=True):
            if node.phase in ("main", "init", "on_wait"):
                if node.phase == "main" or shown.status != NOT_STARTED:
                    main.append(shown)
            else:
                by_phase["on_exit" if node.phase == "exit" else node.phase] = shown
        fields = summary_fields(row, relatives, self._files.run_log(row))
        fields |= {field: by_phase.get(field) for field in HANDLERS}
        return wire.run.RunDetails(**fields, nodes=main, preconditions=run_conditions(graph, row))

    def _nodes(
        self, row: RunRow, graph: Graph, steps: Mapping[int, StepRow], subs: Mapping[int, SubRuns]
    ) -> list[wire.run.Node]:
        shown = self._shown_steps(row.graph, graph)
        return [self._node(row, graph, no, shown[no], steps.get(no), subs.get(no)) for no in range(len(graph.nodes))]

    def _shown_steps(self, key: str, graph: Graph) -> list[wire.step.Step]:
        """The steps of a graph, which never changes, so they are made once."""
        if key not in self._steps:
            self._steps[key] = definition.steps(graph)
            if len(self._steps) > STEPS_KEPT:
                self._steps.popitem(last=False)
        return self._steps[key]

    def _node(
        self, row: RunRow, graph: Graph, no: int, step: wire.step.Step, found: StepRow | None, subs: SubRuns | None
    ) -> wire.run.Node:
        if found is None:
            return wire.run.Node(step, "", "", UNSET, UNSET, NOT_STARTED, NODE_LABELS[NOT_STARTED], 0, 0)
        policy = graph.nodes[no].tolerate
        marked = bool(found.tolerated and policy is not None and policy.mark_success)
        status = node_status(found.status, found.outcome, partial=bool(found.partial), marked=marked)
        out, err = self._files.step_logs(row, found, merged=graph.merges(graph.nodes[no])) if found.tries else ("", "")
        node = wire.run.Node(
            step, out, err, shown_time(found.started_at, UNSET), shown_time(found.ended_at, UNSET), status, NODE_LABELS[status],
            found.retries, found.passes, error=found.error,
        )  # fmt: skip
        if subs is not None:
            node.sub_runs, node.sub_runs_repeated = list(subs.present.values()), subs.earlier
        if found.answers != "[]":
            show_answers(node, msgspec.json.decode(found.answers))
        return node

    async def outputs(self, row: RunRow) -> wire.run.Outputs:
        metadata = wire.run.OutputsMetadata(
            row.name, row.alias, str(row.round), RUN_LABELS[number(row)], shown_time(row.ended_at), shown_params(row)
        )
        return wire.run.Outputs(metadata, msgspec.json.decode(row.outputs))

    async def sub_runs(self, row: RunRow) -> wire.run.SubRuns:
        return wire.run.SubRuns([sub_run(child) for child in await query.children(self.reader, row.id)])

    async def history(self, rows: Sequence[RunRow]) -> wire.definition.DagHistory:
        """Runs with a grid: one line per step name ever seen in them, handlers last (Dagu 1.30)."""
        steps = await query.step_rows_of(self.reader, [row.id for row in rows])
        shown = [await self.details(row, steps[row.id]) for row in rows]
        statuses = [{node.step.name: node.status for node in run.nodes} for run in shown]
        names = sorted({name for known in statuses for name in known})
        grid = [wire.definition.GridItem(name, [known.get(name, NOT_STARTED) for known in statuses]) for name in names]
        for field, label in HANDLERS.items():
            found: list[wire.run.Node | None] = [getattr(run, field) for run in shown]
            if any(found):
                grid.append(wire.definition.GridItem(label, [node.status if node else NOT_STARTED for node in found]))
        return wire.definition.DagHistory(shown, grid)

    async def spec(self, row: RunRow) -> str | None:
        """The text the run was compiled from; a local sub-DAG's is its file's, which is its parent's."""
        seen: RunRow | None = row
        while seen is not None:
            source = (await self.graph(seen)).meta.get("source")
            if source:
                return await query.thing_text(self.reader, source)
            seen = await query.run_of(self.reader, seen.parent_run) if seen.parent_run else None
        return None


def run_conditions(graph: Graph, row: RunRow) -> list[wire.step.Condition]:
    found = definition.conditions(graph.prepare.when) if graph.prepare else []
    resolved = resolved_of(row)
    for condition in found:
        condition.error = resolved.unmet
        if not resolved.unmet:
            condition.matched = True if resolved.workdir else None
        elif len(found) == 1:
            condition.matched = False
    return found


def show_answers(node: wire.run.Node, answers: Sequence[Mapping[str, Any]]) -> None:
    """The last approval or refusal."""
    for given in answers:
        if given["approve"]:
            node.approved_at, node.approved_by = shown_time(given["at"]), given["by"]
            node.approval_inputs = {name: parameters.as_text(value) for name, value in given.get("answer", {}).items()}
        else:
            node.rejected_at, node.rejected_by = shown_time(given["at"]), given["by"]
            node.rejection_reason = given.get("reason", "")


def sub_run(row: RunRow) -> wire.run.SubRunDetail:
    shown = number(row)
    finished = shown_time(row.ended_at) if row.status == "ended" else ""
    return wire.run.SubRunDetail(row.alias, shown, RUN_LABELS[shown], shown_time(row.began_at), row.params, finished)
