"""What a program does with the generated Python client: `python story.py URL`, where `astrarium_client` can be imported.

Runs in an environment of its own, with the libraries a generated client wants; it holds or ends with a traceback.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from astrarium_client import AuthenticatedClient, Client
from astrarium_client.api.dags import login
from astrarium_client.api.graphs import (
    diff_graph_runs,
    fork_graph_run,
    get_artifact,
    get_graph_run,
    list_graph_run_artifacts,
    list_graph_run_steps,
    list_graph_runs,
    list_graphs,
    list_registry,
    respond_graph_run,
    start_graph_run,
    stream_graph_run,
)
from astrarium_client.models import (
    CounterfactualMutation,
    CounterfactualMutationStateOverridesType0,
    ForkedRun,
    ForkRequest,
    GraphFault,
    GraphFrame,
    GraphFrameType,
    GraphPrompt,
    GraphRun,
    GraphRunsPage,
    GraphRunStatus,
    Login,
    RespondRun,
    RespondRunResponse,
    RunDifference,
    Session,
    StartedGraphRun,
    StartGraphRun,
    StartGraphRunInputsType0,
    WrongInput,
)
from astrarium_client.types import File
from websockets.sync.client import connect

URL, PASSWORD = sys.argv[1], sys.argv[2]
DEADLINE_S = 30.0
ENDED = frozenset((GraphRunStatus.DONE, GraphRunStatus.FAILED, GraphRunStatus.ERROR, GraphRunStatus.CANCELLED))
T = TypeVar("T")


def the(kind: type[T], value: Any) -> T:
    assert type(value) is kind, f"{value!r} is no {kind.__name__}"
    return value


def signed_in() -> AuthenticatedClient:
    session = the(Session, login.sync(client=Client(URL), body=Login("admin", PASSWORD)))
    return AuthenticatedClient(URL, token=session.token)


def start(client: AuthenticatedClient, graph: str, **inputs: Any) -> str:
    body = StartGraphRun(f"graph:{graph}", inputs=StartGraphRunInputsType0.from_dict(inputs))
    return the(StartedGraphRun, start_graph_run.sync(client=client, body=body)).run_id


def until(client: AuthenticatedClient, run: str, good: Callable[[GraphRun], bool]) -> GraphRun:
    end = time.monotonic() + DEADLINE_S
    while not good(found := the(GraphRun, get_graph_run.sync(run, client=client))):
        assert time.monotonic() < end, found
        time.sleep(0.01)
    return found


def answer(**response: str) -> RespondRun:
    return RespondRun(RespondRunResponse.from_dict(response))


def ended(client: AuthenticatedClient, run: str) -> GraphRun:
    return until(client, run, lambda found: found.status in ENDED)


def socket_frames(client: AuthenticatedClient, run: str) -> Generator[GraphFrame, None, None]:
    headers = {"Authorization": f"Bearer {client.token}"}
    with connect(f"ws{URL.removeprefix('http')}/v1/runs/{run}/stream", additional_headers=headers) as socket:
        yield from (GraphFrame.from_dict(json.loads(message)) for message in socket)


def told_frames(client: AuthenticatedClient, run: str) -> list[GraphFrame]:
    """Of a run that has ended, by Server-Sent Events."""
    text = the(str, stream_graph_run.sync(run, client=client))
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [GraphFrame.from_dict(json.loads(line)) for line in lines]


def a_person_answers(client: AuthenticatedClient) -> None:
    run = start(client, "ask")
    with contextlib.closing(socket_frames(client, run)) as frames:
        assert next(frames).type_ is GraphFrameType.WAITING_FOR_INPUT
        asked = until(client, run, lambda found: found.status is GraphRunStatus.AWAITING_INPUT)
        prompt = the(GraphPrompt, asked.awaiting)
        assert prompt.prompt == "Shall it be baked?" and asked.finished_at is None
        wrong = respond_graph_run.sync(run, client=client, body=answer(decision="perhaps"))
        assert the(list, the(GraphFault, wrong).detail)
        the(GraphRun, respond_graph_run.sync(run, client=client, body=answer(decision="yes")))
        rest = list(frames)
    assert rest[-1].type_ is GraphFrameType.RESULT and rest[-1].to_dict()["final_state"] == {"decision": "yes", "note": "baked"}
    assert [frame.seq for frame in rest] == list(range(1, len(rest) + 1))
    again = the(GraphFault, respond_graph_run.sync(run, client=client, body=answer(decision="no")))
    assert "valid states are awaiting-input" in again.detail and again.reason == "wrong_state"


def another_past(client: AuthenticatedClient) -> None:
    before = datetime.datetime.now(datetime.UTC)
    run = start(client, "loop", n=0)
    parent = ended(client, run)
    assert parent.status is GraphRunStatus.DONE and the(datetime.datetime, parent.finished_at) >= before
    frames = told_frames(client, run)
    assert frames[-1].type_ is GraphFrameType.RESULT and frames[-1].seq == parent.last_event_seq
    changed = CounterfactualMutation(state_overrides=CounterfactualMutationStateOverridesType0.from_dict({"phase": "stop"}))
    body = ForkRequest(1, mutation=changed, reason="why not")
    answered = fork_graph_run.sync_detailed(run, client=client, body=body, prefer="respond-async")
    assert answered.status_code == 202
    fork = the(ForkedRun, answered.parsed)
    assert fork.parent_run_id == run and ended(client, fork.run_id).reason == "why not"
    steps = the(list, list_graph_run_steps.sync(fork.run_id, client=client))
    assert [step.last_node for step in steps] == ["bump", "bump", "wrap"] and steps[0].state["n"] == 1
    diff = the(RunDifference, diff_graph_runs.sync(run, client=client, against=fork.run_id))
    assert diff.steps[0].step == 1 and diff.routes["cf"] == ["bump", "bump", "wrap"]
    page = the(GraphRunsPage, list_graph_runs.sync(client=client, since=before, limit=1, graph_id="graph:loop"))
    assert page.total == 2 and [one.run_id for one in page.items] == [fork.run_id]
    rest = the(
        GraphRunsPage, list_graph_runs.sync(client=client, since=before, limit=1, graph_id="graph:loop", cursor=page.cursor)
    )
    assert [one.run_id for one in rest.items] == [run] and rest.cursor is None


def things(client: AuthenticatedClient) -> None:
    run = start(client, "artifact", text="# Rye\n")
    ended(client, run)
    (ref,) = the(list, list_graph_run_artifacts.sync(run, client=client))
    assert ref.name == "report.md" and the(datetime.datetime, ref.created_at)
    assert the(File, get_artifact.sync(ref.artifact_id, client=client)).payload.read() == b"# Rye\n"
    assert the(File, get_artifact.sync(ref.artifact_id, client=client, range_="bytes=2-4")).payload.read() == b"Rye"
    assert {"graph:ask", "graph:loop"} <= {one.graph_id for one in the(list, list_graphs.sync(client=client))}
    assert {one.name for one in the(list, list_registry.sync("tools", client=client))} >= {"calculator"}


def what_is_refused(client: AuthenticatedClient) -> None:
    unknown = the(GraphFault, get_graph_run.sync("nobody", client=client))
    assert unknown.detail == "run 'nobody' not found"
    (wrong,) = the(list, the(GraphFault, list_graph_runs.sync(client=client, limit=0)).detail)
    assert the(WrongInput, wrong).loc == ["query", "limit"]
    stranger = AuthenticatedClient(URL, token="no-token")
    answered = list_graph_runs.sync_detailed(client=stranger)
    assert answered.status_code == 401 and the(GraphFault, answered.parsed).detail


def main() -> None:
    client = signed_in()
    for part in (a_person_answers, another_past, things, what_is_refused):
        part(client)
        print(part.__name__, flush=True)


main()
