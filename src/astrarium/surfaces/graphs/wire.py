"""What is read and told on `/v1`: the shapes of Stargraph 0.8, in its field names, with what was added to them.

A request's unknown keys are ignored and named in the header `X-Ignored-Fields`; of a mutation they are refused.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["pending", "running", "paused", "awaiting-input", "done", "cancelled", "error", "failed"]
Source = Literal["manual", "cron", "webhook"]


class GraphFault(msgspec.Struct):
    """What every refusal looks like; `detail` is a list of `{type, loc, msg}` when the input is wrong (422)."""

    detail: str | list[dict[str, Any]]


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
    until: str | None = None


class GraphRun(msgspec.Struct):
    """`started_at` is when the run was asked for; `step` the last one that ended (null = none yet), `last_step_at` when. `last_event_seq`
    (of a single run) is that of the newest frame of its stream, -1 = none."""

    run_id: str
    status: Status
    graph_id: str
    graph_hash: str
    trigger_source: Source
    started_at: str
    last_step_at: str
    finished_at: str | None
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
    timestamp: str
    parent_run_id: str | None
    side_effects_hash: str
    outcome: str
    error: str | None = None


class StepDifference(msgspec.Struct):
    step: int
    branch_id: str | None
    diverged_at: str
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


# -- things ------------------------------------------------------------------------------------------------------------


class ArtifactRef(msgspec.Struct):
    artifact_id: str
    content_hash: str
    name: str
    content_type: str
    run_id: str
    step: int
    created_at: str


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
