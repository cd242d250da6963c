"""Graphs for tests of node kinds: a document in, what became of its run out."""

from __future__ import annotations

from typing import Any, NamedTuple

from astrarium.kernel.record.artifact import OwnedArtifact, list_artifacts
from astrarium.runs.work.tool.record import read_records
from astrarium.spec.ir.compile import Compiled, compile_graph
from astrarium.store.log import run_folder
from astrarium.surfaces.graphs.work.load import installation
from astrarium.worker import load_steps
from tests.specs.dags.desk import SCOPE, Desk


class Ended(NamedTuple):
    """`code` is that of the last step that has one."""

    run: str
    outcome: str
    reason: str
    state: dict[str, Any]
    error: str
    code: str


def compile_text(desk: Desk, text: str) -> Compiled:
    return compile_graph(text, file="case.yaml", installed=installation(load_steps(), desk.folder))


async def begin(desk: Desk, document: str, /, **state: Any) -> str:
    compiled = compile_text(desk, document)
    return await desk.start_graph(compiled.graph, locals_=tuple(compiled.children.values()), state=state)


async def run(desk: Desk, document: str, /, **state: Any) -> Ended:
    """Run a document to its end."""
    return await ended(desk, await begin(desk, document, **state))


async def ended(desk: Desk, run: str) -> Ended:
    row = await desk.ended(run)
    state = await desk.engine.state(f"run:{run}", SCOPE)
    assert state is not None
    last = [step for step in state.steps.values() if step.error or step.code]
    return Ended(run, row.outcome, row.reason, state.document, last[-1].error if last else "", last[-1].code if last else "")


async def records(desk: Desk, run: str) -> list[dict[str, Any]]:
    """What the tries of a run told while they ran."""
    row = await desk.row(run)
    folder = run_folder(desk.worker.settings.data_dir / "logs", run, row.created_at)
    return [record for path in sorted(folder.glob("*.ev")) for record in read_records(path)]


async def artifacts(desk: Desk, run: str) -> list[OwnedArtifact]:
    return await list_artifacts(desk.worker.store, SCOPE.workspace, "run", run)
