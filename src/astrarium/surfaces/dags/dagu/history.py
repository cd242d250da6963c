"""The past of runs as Dagu 1.x keeps it, as orders to our engine: one run, one `ImportRun` (contract dagu.md §7.4, §1.1).

Of each run the newest attempt counts, of its status file the last whole line. The definition is the text the run was started
from; where that was not kept, one is made from the steps the run had.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ....errors import Invalid
from ....runs.message import ImportRun, Inherited, Parent, Resolved, StartRun
from ....runs.ports import StepOutcome
from ....runs.routing.depends import DependsRouter
from ....runs.routing.port import Ended, RunOutcome
from ....runs.work.environment import server_environment
from ....spec.expand import Variables, expand_script
from ....spec.graph import Graph
from ....spec.ids import is_run_id, new_id
from ..catalog import Catalog, Compiled

NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")
OUTCOMES: dict[int, RunOutcome] = {1: "failed", 2: "failed", 3: "cancelled", 4: "succeeded", 6: "partial", 8: "rejected"}
"""By number of the run's status. A run said to be running has no process any more."""
STEP_OUTCOMES: dict[int, StepOutcome] = {
    1: "lost", 2: "failed", 3: "cancelled", 4: "succeeded", 5: "skipped", 6: "succeeded", 8: "rejected",
}  # fmt: skip
HANDLERS = {
    "onInit": "init", "onSuccess": "on_success", "onFailure": "on_failure", "onCancel": "on_cancel", "onExit": "exit",
    "onWait": "on_wait",
}  # fmt: skip
MOST_STATUS_BYTES = 64 * 1024 * 1024
ENDED_HERE = "imported"


class Past(NamedTuple):
    """One run: the order that takes it over, what that refers to, and the log files of its steps by (step number, stream)."""

    run: str
    order: ImportRun
    made: Compiled
    logs: dict[tuple[int, str], Path]


class Left(NamedTuple):
    """A run that is not taken over, and why."""

    name: str
    id: str
    why: str


def run_folders(runs: Path) -> Iterator[Path]:
    """The folder of every run, oldest first within a DAG."""
    for name in sorted(entry for entry in runs.glob("*/dag-runs") if entry.is_dir()):
        yield from sorted(name.glob("*/*/*/dag-run_*"))


def read_run(folder: Path, definitions: Definitions) -> Iterator[Past | Left]:
    """A run and the runs under it, parents first."""
    status = last_status(folder)
    if status is None:
        yield Left(folder.parents[4].name, folder.name, f"{folder} holds no status that can be read")
        return
    top = take(status, folder, definitions, None, "", 0)
    yield top
    if isinstance(top, Left):
        return
    found = {child.name.removeprefix("child_"): child for child in sorted(folder.glob("children/child_*"))}
    yield from _children(top, status, found, definitions, 1)


def _children(
    parent: Past, status: dict[str, Any], found: dict[str, Path], definitions: Definitions, depth: int
) -> Iterator[Past | Left]:
    places = {node.name: no for no, node in enumerate(parent.made.dag.graph.nodes)}
    for told in status.get("nodes") or []:
        no = places.get(str(told.get("step", {}).get("name")))
        for index, child in enumerate(told.get("subRuns") or told.get("children") or []):
            key = str(child.get("dagRunId", ""))
            folder = found.pop(key, None)
            mine = last_status(folder) if folder is not None else None
            if no is None or folder is None or mine is None:
                continue
            root = parent.order.start.root or parent.run
            taken = take(mine, folder, definitions, Parent(parent.run, 1, no, index), root, depth)
            yield taken
            if isinstance(taken, Past):
                yield from _children(taken, mine, found, definitions, depth + 1)


def last_status(folder: Path) -> dict[str, Any] | None:
    """The last whole line of the newest attempt's status file; None when there is none."""
    for attempt in sorted((path for path in folder.glob("attempt_*") if path.is_dir()), reverse=True):
        path = attempt / "status.jsonl"
        try:
            if path.stat().st_size > MOST_STATUS_BYTES:
                continue
            lines = path.read_bytes().splitlines()
        except OSError:
            continue
        for line in reversed(lines):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return {**found, "attemptFolder": str(attempt)}
    return None


def take(
    status: dict[str, Any], folder: Path, definitions: Definitions, parent: Parent | None, root: str, depth: int
) -> Past | Left:
    """One run as an order."""
    name, alias = str(status.get("name", "")), str(status.get("dagRunId", ""))
    number = status.get("status")
    if not NAME.match(name) or not is_run_id(alias):
        return Left(name, alias, "its name or id cannot be used here")
    if number not in OUTCOMES:
        return Left(name, alias, "it has not ended: it was queued or waited for a person")
    made = definitions.of(status, name)
    if made is None:
        return Left(name, alias, "neither the text it was started from nor its steps make a valid DAG")
    graph = made.dag.graph
    began, ended = micros(status.get("startedAt")), micros(status.get("finishedAt"))
    created = int(status.get("createdAt") or 0) * 1000 or began or ended or int(folder.stat().st_mtime * 1_000_000)
    steps, logs = read_steps(status, graph, created)
    outcome = OUTCOMES[int(str(number))]
    router = DependsRouter()
    plan = router.plan(graph)
    routed = [Ended(step.node, step.no, step.outcome, step.tolerated, step.marked, partial=step.partial) for step in steps]
    run = new_id(created, os.urandom(8))
    start = StartRun(
        made.graph, name, "dags", alias, params=str(status.get("params") or ""), trigger="import", chosen=True, parent=parent,
        root=root, depth=depth, labels={"imported": "dagu"},
    )  # fmt: skip
    params = tuple(split_param(text) for text in status.get("paramsList") or [] if isinstance(text, str))
    order = ImportRun(
        start, outcome, created, began or created, ended or began or created, micros(status.get("queuedAt")),
        "lost" if number == 1 else ENDED_HERE, tuple(steps), router.dump(router.past(plan, routed, outcome, ENDED_HERE)),
        resolved_of(graph, params),
    )  # fmt: skip
    return Past(run, order, made, logs)


def resolved_of(graph: Graph, params: tuple[tuple[str, str], ...]) -> Resolved:
    """What a retry goes on with: the parameters as they were, the environment as far as it follows from texts alone (what a command
    in backticks said is not known any more)."""
    values = {**server_environment(), **{name: text for name, text in params if name}}
    env: list[tuple[str, str]] = []
    for name, text in graph.prepare.env if graph.prepare else ():
        if "`" not in text:
            values[name] = expand_script(text, Variables(values))
            env.append((name, values[name]))
    workdir = expand_script(graph.workdir, Variables(values)) if graph.workdir else ""
    return Resolved(params=params, env=tuple(env), workdir=str(Path(graph.base_dir, Path(workdir).expanduser())))


def split_param(text: str) -> tuple[str, str]:
    """`K=V` as (K, V); a value alone is positional."""
    name, equals, value = text.partition("=")
    return (name, value) if equals else ("", text)


class Definitions:
    """What runs executed. `texts` are DAG files by name, for runs whose own text was not kept."""

    def __init__(self, catalog: Catalog, texts: Mapping[str, Path]) -> None:
        self._texts = texts
        self._compile = lru_cache(maxsize=256)(partial(compiled, catalog))

    def of(self, status: dict[str, Any], name: str) -> Compiled | None:
        """The run's own text, else the DAG file of that name if it has its steps, else one made from its steps."""
        steps = {str(node.get("step", {}).get("name")) for node in status.get("nodes") or []}
        kept = _kept_text(Path(status["attemptFolder"]) / "dag.json")
        for text in (kept, _file_text(self._texts.get(name)), _made_text(status, name)):
            made = self._compile(name, text) if text is not None else None
            if made is not None and steps <= {node.name for node in made.dag.graph.nodes}:
                return made
        return None


def compiled(catalog: Catalog, name: str, text: str) -> Compiled | None:
    try:
        return catalog.compile(text, name, file=f"{name}.yaml")
    except Invalid:
        return None


def _kept_text(path: Path) -> str | None:
    try:
        kept = json.loads(path.read_bytes())
        data = kept.get("yamlData") if isinstance(kept, dict) else None
        return base64.b64decode(data, validate=True).decode() if isinstance(data, str) else None
    except (OSError, ValueError, binascii.Error):
        return None


def _file_text(path: Path | None) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if path is not None else None
    except (OSError, UnicodeDecodeError):
        return None


def _made_text(status: dict[str, Any], name: str) -> str:
    steps = []
    for node in status.get("nodes") or []:
        told = node.get("step", {})
        step = {"name": told.get("name"), "command": _command(told)}
        if told.get("script"):
            step["script"] = told["script"]
        if told.get("depends"):
            step["depends"] = told["depends"]
        steps.append(step)
    return yaml.safe_dump({"name": name, "type": "graph", "steps": steps}, sort_keys=False)


def _command(told: dict[str, Any]) -> str:
    commands = told.get("commands")
    if isinstance(commands, list) and commands:
        lines = [
            " ".join([str(one.get("command", "")), *map(str, one.get("args") or [])]) for one in commands if isinstance(one, dict)
        ]
        return "\n".join(lines)
    return str(told.get("cmdWithArgs") or told.get("command") or "true")


def read_steps(status: dict[str, Any], graph: Graph, created: int) -> tuple[list[Inherited], dict[tuple[int, str], Path]]:
    """How the steps ended, and where their logs lie."""
    by_name = {node.name: no for no, node in enumerate(graph.nodes)}
    by_phase: dict[str, int] = {node.phase: no for no, node in enumerate(graph.nodes) if node.phase != "main"}
    told = [(by_name.get(str(node.get("step", {}).get("name"))), node) for node in status.get("nodes") or []]
    told += [(by_phase.get(phase), status[field]) for field, phase in HANDLERS.items() if isinstance(status.get(field), dict)]
    steps, logs = [], {}
    for no, node in told:
        outcome = STEP_OUTCOMES.get(node.get("status", 0))
        if no is None or outcome is None:
            continue
        began, ended = micros(node.get("startedAt")), micros(node.get("finishedAt"))
        if outcome == "cancelled" and not began:
            outcome = "aborted"
        policy = graph.nodes[no].tolerate
        tolerated = bool(policy is not None and policy.failure and outcome == "failed")
        steps.append(
            Inherited(
                no,
                no,
                outcome,
                output_of(node, graph.nodes[no].output),
                error=str(node.get("error") or ""),
                tolerated=tolerated,
                marked=bool(tolerated and policy is not None and policy.mark_success),
                partial=node.get("status") == 6,
                try_no=1 if began else 0,
                passes=int(node.get("doneCount") or 0),
                retries=int(node.get("retryCount") or 0),
                started_at=began or created,
                ended_at=ended or began or created,
            )
        )
        for stream, field in (("out", "stdout"), ("err", "stderr")):
            if began and node.get(field):
                logs[no, stream] = Path(str(node[field]))
    return steps, logs


def output_of(node: dict[str, Any], wanted: Any) -> str | None:
    """The captured output: `outputVariables` holds `NAME=value` by name."""
    known = node.get("outputVariables")
    text = known.get(wanted.name) if wanted is not None and isinstance(known, dict) else None
    return text.partition("=")[2] if isinstance(text, str) else None


def micros(text: Any) -> int:
    """An RFC 3339 time as microseconds; 0 when it is unset."""
    if not isinstance(text, str) or text in ("", "-"):
        return 0
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        return 0
