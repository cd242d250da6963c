"""Graphs that are offered, what is installed, and artifacts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ....errors import NotFound
from ....kernel.record.artifact import RUN as RUN_OWNER
from ....kernel.record.artifact import OwnedArtifact, find_artifact, list_artifacts
from ....store.blob.artifact import Artifacts
from ...artifact import artifact_answer
from ...operation import Query
from .. import wire
from ..registry import ENTRIES, registry
from ..views.run import shown_time
from .entry import RUN, answer, enter, entered_run, row


def shown_artifact(one: OwnedArtifact, run: str) -> wire.ArtifactRef:
    step = int(one.metadata.get("step", 0))
    return wire.ArtifactRef(one.id, one.blake3, one.name, one.content_type, run, step, shown_time(one.created_at))


async def get_run_artifacts(request: Request) -> Response:
    desk, _, found = await entered_run(request)
    owned = await list_artifacts(desk.engine.store, found.workspace, RUN_OWNER, found.id)
    return answer(sorted((shown_artifact(one, found.alias) for one in owned), key=lambda one: one.artifact_id))


async def get_artifact(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = request.path_params["artifact_id"]
    found = await find_artifact(desk.engine.store, caller.scope.workspace, id_) if "\0" not in id_ else None
    if found is None or found.owner_kind != RUN_OWNER:
        raise NotFound(f"artifact '{id_[:200]}' not found")
    artifacts: Artifacts = request.app.state.artifacts
    return artifact_answer(request, artifacts, found)


async def get_graphs(request: Request) -> Response:
    desk, _ = await enter(request)
    entries = sorted(desk.catalog.entries.values(), key=lambda one: one.id)
    return answer([wire.GraphItem(one.id, one.hash, one.nodes) for one in entries])


async def get_graph_problems(request: Request) -> Response:
    desk, _ = await enter(request)
    return answer([wire.GraphProblem(file, [str(one) for one in wrong]) for file, wrong in sorted(desk.catalog.problems.items())])


async def get_registry(request: Request) -> Response:
    await enter(request)
    return answer(registry(request.path_params["kind"], request.app.state.graph_skills))


OPERATIONS = (
    row("GET", RUN + "/artifacts", "listGraphRunArtifacts", "The artifacts of a run", get_run_artifacts, needs="artifacts:read",
        answer=list[wire.ArtifactRef]),
    row("GET", "/artifacts/{artifact_id}", "getArtifact", "The bytes of an artifact", get_artifact, needs="artifacts:read",
        media="application/octet-stream", failures=(404, 416), others=(206,), headers=(
            Query("Range", "Only these bytes, `bytes=0-99`."), Query("If-None-Match", "Answered 304 when it is still this `ETag`."),
        )),
    row("GET", "/graphs", "listGraphs", "The graphs this server offers", get_graphs, needs="runs:read", answer=list[wire.GraphItem]),
    row("GET", "/graphs/problems", "listGraphProblems", "Files of the graphs' folder that do not load, and why", get_graph_problems,
        needs="runs:read", answer=list[wire.GraphProblem]),
    row("GET", "/registry/{kind}", "listRegistry", "Tools, skills or stores that are installed", get_registry, needs="runs:read",
        answer=ENTRIES),
)  # fmt: skip
