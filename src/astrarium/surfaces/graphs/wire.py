"""What is read and told on `/v1`: the shapes of Stargraph 0.8, in its field names, with what was added to them.

A request's unknown keys are ignored and named in the header `X-Ignored-Fields`; of a mutation they are refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from ...runs.past.diff import Diverged

Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339, UTC."""
Status = Literal["pending", "running", "paused", "awaiting-input", "done", "cancelled", "error", "failed"]
Source = Literal["manual", "cron", "webhook"]
FrameType = Literal[
    "token", "tool_call", "tool_result", "transition", "checkpoint", "waiting_for_input", "interrupt_timeout", "branch_started",
    "branch_completed", "branch_cancelled", "run_paused", "run_cancelled", "bosun_audit", "error", "result", "artifact_written",
    "step_started", "step_ended",
]  # fmt: skip
"""Those of runs of graphs (Stargraph 0.8), then those of runs of DAGs."""


class WrongInput(msgspec.Struct):
    """One thing wrong with a request; `loc` is its place: `body`, `query` or `path`, then names and numbers."""

    type: str
    loc: list[str | int]
    msg: str


class GraphFault(msgspec.Struct, omit_defaults=True):
    """What every refusal looks like. `detail` is a list when the input is wrong (422), `reason` a word for why a run's state forbids it
    (409), `error_id` what the server keeps an internal error by (500)."""

    detail: str | list[WrongInput]
    reason: str | None = None
    error_id: str | None = None


# -- runs --------------------------------------------------------------------------------------------------------------


class StartGraphRun(msgspec.Struct):
    """`params` and `inputs` are two names of one thing: what the state starts with."""

    graph_id: str
    params: dict[str, Any] | None = None
    inputs: dict[str, Any] | None = None
    idempotency_key: str | None = None
    trigger_source: Source = "manual"


class StartedGraphRun(msgspec.Struct):
    run_id: str
    status: Status


class GraphPrompt(msgspec.Struct):
    """What a run asks people. `until` is when the question is over, null = never."""

    prompt: str
    interrupt_payload: dict[str, Any]
    requested_capability: str | None
    node: str
    step: int
    until: Time | None = None


class GraphRun(msgspec.Struct):
    """`started_at` is when the run was asked for; `step` the last one that ended (null = none yet), `last_step_at` when. `last_event_seq`
    (of a single run) is that of the newest frame of its stream, -1 = none."""

    run_id: str
    status: Status
    graph_id: str
    graph_hash: str
    trigger_source: Source
    started_at: Time
    last_step_at: Time
    finished_at: Time | None
    duration_ms: int | None
    queued_ms: int | None
    parent_run_id: str | None
    error_class: str | None
    error_cause: str | None
    step: int | None
    attempt: int
    awaiting: GraphPrompt | None
    last_event_seq: int | None = None
    reason: str | None = None
    surface: str = "graphs"


class GraphRunsPage(msgspec.Struct):
    """`cursor` asks for the next page; null on the last one."""

    items: list[GraphRun]
    total: int
    limit: int
    offset: int
    cursor: str | None


class CancelGraphRun(msgspec.Struct):
    """Without `grace_seconds` the step that runs is left to end by itself; with it, it is stopped after so many seconds."""

    grace_seconds: float | None = None


class ResumeGraphRun(msgspec.Struct):
    from_step: int | None = None


class RespondRun(msgspec.Struct):
    response: dict[str, Any]
    actor: str | None = None


class CounterfactualMutation(msgspec.Struct, forbid_unknown_fields=True):
    """What shall be different; an empty one is a probe. `respond_payloads` are keyed by step."""

    state_overrides: dict[str, Any] | None = None
    facts_assert: list[dict[str, Any]] | None = None
    facts_retract: list[dict[str, Any]] | None = None
    rule_pack_version: str | None = None
    node_output_overrides: dict[str, dict[str, Any]] | None = None
    respond_payloads: dict[int, dict[str, Any]] | None = None


class ForkRequest(msgspec.Struct):
    """`step` is the place forked at. What tools that change the world gave is taken from the record, unless `live_side_effects` lets them
    be called again; that is for admins. Of a run of a DAG it is a step's name (or its place in the file), and what may differ are its
    `params` and the `outputs` of its steps."""

    step: int | str
    mutation: CounterfactualMutation = msgspec.field(default_factory=CounterfactualMutation)
    reason: str = ""
    params: str | None = None
    outputs: dict[str, str] | None = None
    live_side_effects: bool = False


class ForkedRun(msgspec.Struct):
    run_id: str
    parent_run_id: str
    status: Status
    derived_hash: str


class CheckpointView(msgspec.Struct):
    """The run as it was when a step had ended."""

    run_id: str
    step: int
    branch_id: str | None
    attempt: int
    graph_hash: str
    runtime_hash: str
    state: dict[str, Any]
    clips_facts: list[dict[str, Any]]
    last_node: str
    next_action: dict[str, Any] | None
    timestamp: Time
    parent_run_id: str | None
    side_effects_hash: str
    outcome: str
    error: str | None = None


class StepDifference(msgspec.Struct):
    step: int
    branch_id: str | None
    diverged_at: Diverged
    state_diff: list[dict[str, Any]]
    output_diff: dict[str, Any] | None
    side_effect_diff: dict[str, Any] | None
    edge_diff: dict[str, Any] | None
    node_diff: dict[str, Any] | None


class RunDifference(msgspec.Struct):
    """`routes`: the nodes each run visited, in order."""

    original_run_id: str
    counterfactual_run_id: str
    derived_hash: str | None
    steps: list[StepDifference]
    final_state_diff: list[dict[str, Any]]
    final_status_diff: list[str] | None
    routes: dict[str, list[str]]


# -- streams -----------------------------------------------------------------------------------------------------------


class GraphFrame(msgspec.Struct, omit_defaults=True):
    """What happened to a run: one message of its socket, or the data of one event of its stream. All have the first nine fields; which of
    the others depends on the type. `<event_id>,<offset>,<seq>` is the place after it."""

    type: FrameType
    run_id: str
    step: int
    branch_id: str | None
    ts: Time
    payload: dict[str, Any]
    event_id: str
    seq: int
    offset: int
    # the run
    status: Status | None = None
    final_state: dict[str, Any] | None = None
    run_duration_ms: int | None = None
    actor: str | None = None
    reason: str | None = None
    # its way
    from_node: str | None = None
    to_node: str | None = None
    rule_id: str | None = None
    checkpoint_id: str | None = None
    target: str | None = None
    strategy: str | None = None
    # what it asks
    prompt: str | None = None
    interrupt_payload: dict[str, Any] | None = None
    requested_capability: str | None = None
    on_timeout: str | None = None
    # what a node did
    node: str | None = None
    kind: str | None = None
    try_: int | None = msgspec.field(default=None, name="try")
    outcome: str | None = None
    output: str | None = None
    scope: str | None = None
    message: str | None = None
    recoverable: bool | None = None
    code: str | None = None
    model: str | None = None
    token: str | None = None
    index: int | None = None
    tool_name: str | None = None
    namespace: str | None = None
    call_id: str | None = None
    args: dict[str, Any] | None = None
    ok: bool | None = None
    result: Any = None
    error: str | None = None
    artifact_ref: ArtifactRef | None = None
    # what rules and packs are told
    pack_id: str | None = None
    pack_version: str | None = None
    fact: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None


# -- things ------------------------------------------------------------------------------------------------------------


class ArtifactRef(msgspec.Struct):
    artifact_id: str
    content_hash: str
    name: str
    content_type: str
    run_id: str
    step: int
    created_at: Time


class GraphItem(msgspec.Struct):
    graph_id: str
    graph_hash: str
    node_count: int


class GraphProblem(msgspec.Struct):
    """A file of the graphs' folder that does not load, and why."""

    file: str
    problems: list[str]


class WebhookAccepted(msgspec.Struct):
    accepted: bool
    idempotency_key: str
