"""`astrarium dry`: what a run of a DAG would do, without doing any of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ..spec import params as parameters
from ..spec.graph import Graph, Node
from .definition import compile_file, find_file
from .option import AsJson, DagsDir, DataDir, examples, new_app, print_json, settings_of
from .run import Params, Words, read_params

APP = new_app()
EXAMPLES = examples("astrarium dry report", "astrarium dry report.yaml -- DAY=2026-01-31", "astrarium dry report --json")


@APP.command(epilog=EXAMPLES)
def dry(
    file: Annotated[str, typer.Argument(metavar="DAG", help="A DAG file, or the name of a DAG in the DAG folder.")],
    words: Words = None,
    params: Params = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
) -> int:
    """Plan a run without starting anything: the parameters, and the steps in the order in which they could begin.

    Commands in backticks and files are not evaluated. Steps with the same number may run side by side.
    """
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir)
    path = find_file(file, settings)
    _, compiled = compile_file(path, settings)
    graph = compiled.dag.graph
    given = parameters.parse_overrides(read_params(params, words))
    steps = [_document(graph, no, place) for place, no in in_order(graph)]
    plan = {
        "name": compiled.dag.name,
        "params": {"default": compiled.dag.params_default, "given": [{"name": one.name, "value": one.text} for one in given]},
        "steps": steps,
    }
    if as_json:
        print_json(plan)
        return 0
    print(f"{compiled.dag.name}: {len(steps)} steps")
    if compiled.dag.params_default:
        print(f"  params: {compiled.dag.params_default}")
    for one in given:
        print(f"  given:  {one.name + '=' if one.name else ''}{one.text}")
    for step in steps:
        notes = [f"after {', '.join(step['depends'])}"] if step["depends"] else []
        notes += [f"if {text}" for text in step["preconditions"]]
        told = f"  [{'; '.join(notes)}]" if notes else ""
        print(f"{step['place']:>4}  {step['name']} ({step['type']}){told}")
    return 0


def in_order(graph: Graph) -> Iterator[tuple[str, int]]:
    """(place, number) of every node: steps by the number of steps before them, handlers after them by when they run."""
    before: dict[int, list[int]] = {}
    for edge in graph.edges:
        before.setdefault(edge.target, []).append(edge.source)
    level: dict[int, int] = {}
    waiting = [no for no, node in enumerate(graph.nodes) if node.phase == "main"]
    while waiting:
        ready = [no for no in waiting if all(source in level for source in before.get(no, ()))]
        for no in ready:
            level[no] = 1 + max((level[source] for source in before.get(no, ())), default=0)
        waiting = [no for no in waiting if no not in level]
    yield from ((str(place), no) for no, place in sorted(level.items(), key=lambda item: (item[1], item[0])))
    yield from ((node.phase, no) for no, node in enumerate(graph.nodes) if node.phase != "main")


def _document(graph: Graph, no: int, place: str) -> dict[str, Any]:
    node: Node = graph.nodes[no]
    depends = [graph.nodes[edge.source].name for edge in graph.edges if edge.target == no]
    conditions = [one.text if one.expected is None else f"{one.text} = {one.expected}" for one in node.when]
    return {
        "place": place,
        "name": node.name,
        "type": node.kind,
        "depends": depends,
        "preconditions": conditions,
        "params": node.params,
    }
