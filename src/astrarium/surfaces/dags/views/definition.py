"""Definitions as readers see them: a DAG, its details, its steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ....errors import Invalid
from ....spec import params as parameters
from ....spec.dag import DagFile
from ....spec.graph import Condition, Graph, Node, Phase, Repeat
from .. import wire
from ..catalog import Entry

KEEP_DAYS = 30
"""What Dagu 1.30 shows where a DAG does not say how long its runs are kept."""
HANDLERS: dict[Phase, str] = {"on_failure": "failure", "on_success": "success", "on_cancel": "cancel", "exit": "exit"}
WORDS = {"wait": "hitl", "child": "subworkflow", "shell": ""}
"""Our step type → the executor's name where it differs."""


def conditions(found: Iterable[Condition]) -> list[wire.step.Condition]:
    return [wire.step.Condition(one.text, one.expected or "", one.negate) for one in found]


def repeat_policy(policy: Repeat | None) -> wire.step.RepeatPolicy | None:
    if policy is None:
        return None
    return wire.step.RepeatPolicy(
        repeat=policy.mode, interval=int(policy.interval_s), limit=policy.limit, backoff=policy.backoff,
        max_interval_sec=int(policy.max_interval_s), exit_code=list(policy.exit_codes),
        condition=conditions([policy.condition])[0] if policy.condition else None,
    )  # fmt: skip


def depends_of(graph: Graph) -> list[list[str]]:
    """The names each node depends on, by position; a chain's implicit edges are among them, as in Dagu 1.30."""
    found: list[list[str]] = [[] for _ in graph.nodes]
    for edge in graph.edges:
        found[edge.target].append(graph.nodes[edge.source].name)
    return found


def step(node: Node, depends: list[str], extras: dict[str, Any]) -> wire.step.Step:
    made = wire.step.Step(
        node.name, id=node.id, description=node.description, dir=node.workdir, stdout=node.stdout, stderr=node.stderr,
        output=node.output.name if node.output else "", depends=depends, repeat_policy=repeat_policy(node.repeat),
        mail_on_error=bool(extras.get("mailOnError")), preconditions=conditions(node.when), timeout_sec=int(node.timeout_s),
    )  # fmt: skip
    FILLS.get(node.kind, fill_other)(made, node.params)
    add_old_fields(made)
    word = WORDS.get(node.kind, node.kind)
    if made.parallel is not None:
        word = "parallel"
    if word:
        hidden = ("name", "params", "parallel", "password", "smtp", "registry_auths")
        config = {name: value for name, value in node.params.items() if name not in hidden}
        made.executor_config = wire.step.ExecutorConfig(word, config)
    return made


def add_old_fields(made: wire.step.Step) -> None:
    """What clients of older lines read: one command with its arguments, and `run` for a called DAG."""
    if made.commands:
        first = made.commands[0]
        made.command, made.args = first.command, first.args
        made.cmd_with_args = " ".join((first.command, *first.args))
    made.run = made.call


def fill_shell(made: wire.step.Step, params: dict[str, Any]) -> None:
    made.script = params.get("script", "")
    commands = params.get("commands") or [params.get("command", "")]
    made.commands = [wire.step.CommandEntry(command) for command in commands if command]


def fill_http(made: wire.step.Step, params: dict[str, Any]) -> None:
    made.commands = [wire.step.CommandEntry(params.get("method", ""), [params.get("url", "")])]
    made.script = params.get("body", "")


def fill_jq(made: wire.step.Step, params: dict[str, Any]) -> None:
    made.commands = [wire.step.CommandEntry(params.get("filter", ""))]
    made.script = params.get("input", "")


def fill_python(made: wire.step.Step, params: dict[str, Any]) -> None:
    made.commands = [wire.step.CommandEntry(params.get("call", ""))]


def fill_child(made: wire.step.Step, params: dict[str, Any]) -> None:
    made.call, made.params = params.get("name", ""), params.get("params", "")
    parallel = params.get("parallel")
    if parallel:
        items = parallel["items"]
        texts = items if isinstance(items, str) else [parameters.as_text(item) for item in items]
        made.parallel = wire.step.Parallel(texts, parallel.get("max_concurrent", 0))


def fill_other(made: wire.step.Step, params: dict[str, Any]) -> None:
    made.script = str(params.get("script", ""))
    commands = params.get("commands") or ([params["command"]] if params.get("command") else [])
    made.commands = [wire.step.CommandEntry(str(command)) for command in commands]


FILLS = {"shell": fill_shell, "http": fill_http, "jq": fill_jq, "python": fill_python, "child": fill_child}


def steps(graph: Graph) -> list[wire.step.Step]:
    """Every node as a step, by position, handlers too."""
    extras = graph.meta.get("steps", {})
    return [step(node, names, extras.get(node.name, {})) for node, names in zip(graph.nodes, depends_of(graph), strict=True)]


def dag(found: DagFile) -> wire.definition.Dag:
    return wire.definition.Dag(**dag_fields(found))


def unknown_dag(name: str) -> wire.definition.Dag:
    """A DAG of which only the file name is known."""
    return wire.definition.Dag(name)


def dag_fields(found: DagFile) -> dict[str, Any]:
    config = found.meta.get("runConfig")
    return {
        "name": found.name,
        "group": found.group,
        "description": found.description,
        "params": param_texts(found.graph),
        "default_params": found.params_default,
        "tags": list(found.tags),
        "schedule": [wire.definition.Schedule(cron) for cron in found.schedule.start],
        "queue": found.queue,
        "max_active_runs": found.max_active_runs,
        "run_config": run_config(config) if config else None,
    }


def run_config(config: dict[str, Any]) -> wire.definition.RunConfig:
    return wire.definition.RunConfig(bool(config.get("disableParamEdit")), bool(config.get("disableRunIdEdit")))


def param_texts(graph: Graph) -> list[str]:
    """The parameters' templates as `K=V`."""
    if graph.prepare is None:
        return []
    try:
        return parameters.render(parameters.parse_params(graph.prepare.params))
    except Invalid:
        return []


def details(found: DagFile) -> wire.definition.DagDetails:
    return wire.definition.DagDetails(**dag_fields(found), **graph_fields(found.graph))


def graph_fields(graph: Graph) -> dict[str, Any]:
    shown = steps(graph)
    by_phase = {HANDLERS[node.phase]: one for node, one in zip(graph.nodes, shown, strict=True) if node.phase in HANDLERS}
    prepare = graph.prepare
    return {
        "env": [f"{name}={value}" for name, value in prepare.env] if prepare else [],
        "log_dir": graph.log_dir,
        "handler_on": wire.definition.Handlers(**by_phase) if by_phase else None,
        "steps": [one for node, one in zip(graph.nodes, shown, strict=True) if node.phase == "main"],
        "delay": int(graph.delay_s),
        "hist_retention_days": graph.meta.get("dag", {}).get("histRetentionDays", KEEP_DAYS),
        "preconditions": conditions(prepare.when) if prepare else [],
        "max_active_steps": graph.max_active_steps,
    }


def local_dags(found: DagFile) -> list[wire.definition.LocalDag]:
    """The later documents of the file."""
    return [
        wire.definition.LocalDag(name, [], wire.definition.DagDetails(name, params=param_texts(graph), **graph_fields(graph)))
        for name, graph in found.locals.items()
    ]


def entry_dag(entry: Entry) -> wire.definition.Dag:
    return dag(entry.dag) if entry.dag is not None else unknown_dag(entry.stem)
