"""Events of a run as spans, and where they are sent. Loaded by name: OpenTelemetry's libraries are an extra."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from ..... import __version__
from .....kernel.types import Event
from .....runs import message as m
from .....runs.work.trace import span_id, trace_id
from .....spec.graph import Graph

GRPC = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
AT_ONCE = 512
"""Spans in one request."""
MOST_SPANS = 20_000
"""Of one run; the run's span says how many steps are left out."""
GOOD = frozenset(("succeeded", "skipped"))
SCOPE = InstrumentationScope("astrarium", __version__)


class Target(NamedTuple):
    """Where spans go, expanded; an empty endpoint or a time-out of 0 = what the server's own `OTEL_…` variables say."""

    endpoint: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    insecure: bool = False
    timeout_s: float = 0.0
    resource: tuple[tuple[str, str], ...] = ()


class Traced(NamedTuple):
    """A run to be told: `parent` is (run, round, step) of the step above, `rerun_of` (root, run, round) of what it repeats."""

    run: str
    root: str
    name: str
    alias: str
    trigger: str
    graph: Graph
    parent: tuple[str, int, int] | None = None
    rerun_of: tuple[str, str, int] | None = None


def context(root: str, run: str, round_no: int, no: int | None = None) -> SpanContext:
    return SpanContext(int(trace_id(root), 16), int(span_id(run, round_no, no), 16), False, TraceFlags(TraceFlags.SAMPLED))


class Builder:
    """Collects the spans of a run's last round from its events, in order."""

    def __init__(self, traced: Traced, target: Target) -> None:
        self._traced = traced
        own = OTELResourceDetector().detect().attributes.get("service.name", "astrarium")  # the server's variables may name it
        self._resource = Resource.create({"service.name": own, **dict(target.resource)})
        self._round = 1
        self._began = 0
        self._starts: dict[int, int] = {}
        self._notes: dict[int, list[SpanEvent]] = {}
        self._steps: list[ReadableSpan] = []
        self._left_out = 0
        self.spans: list[ReadableSpan] = []

    def add(self, event: Event) -> None:
        body, at = event.body, event.at * 1000
        kind = type(body)
        if kind in (m.RunCreated, m.RunForked) or kind is m.RunBegan:
            self._began = at
        elif kind is m.RunReopened:
            self._round, self._began = body.round, at
            self._starts, self._notes, self._steps, self.spans, self._left_out = {}, {}, [], [], 0
        elif kind is m.StepStarted:
            self._starts.setdefault(body.no, at)
            self._note(body.no, "try", at, number=body.try_no)
        elif kind is m.StepDelayed:
            self._note(body.no, body.why, at, error=body.error)
        elif kind is m.StepAsked:
            self._note(body.no, "waiting", at, prompt=body.ask.prompt)
        elif kind is m.AnswerGiven:
            self._note(body.no, "approved" if body.approve else "rejected", at, by=body.by)
        elif kind is m.StepEnded and body.no in self._starts:
            self._end_step(body, at)
        elif kind is m.RunEnded:
            self.spans = [self._run_span(body, at), *self._steps]

    def _note(self, no: int, name: str, at: int, **attributes: Any) -> None:
        kept = {key: value for key, value in attributes.items() if value not in ("", None)}
        self._notes.setdefault(no, []).append(SpanEvent(name, kept, at))

    def _end_step(self, body: m.StepEnded, at: int) -> None:
        if len(self._steps) >= MOST_SPANS:
            self._left_out += 1
            return
        node = self._traced.graph.nodes[body.no]
        attributes: dict[str, Any] = {
            "dag.name": self._traced.name, "dag.run.id": self._traced.alias, "dag.step.name": node.name, "dag.step.type": node.kind,
            "dag.step.outcome": body.outcome,
        }  # fmt: skip
        if body.exit_code is not None:
            attributes["process.exit.code"] = body.exit_code
        status = Status(StatusCode.OK) if body.outcome in GOOD else Status(StatusCode.ERROR, body.error or body.outcome)
        self._steps.append(
            self._span(
                node.name, body.no, self._own(), attributes, status, self._starts.pop(body.no), at, self._notes.pop(body.no, [])
            )
        )

    def _run_span(self, body: m.RunEnded, at: int) -> ReadableSpan:
        traced = self._traced
        attributes: dict[str, Any] = {
            "dag.name": traced.name, "dag.run.id": traced.alias, "dag.run.attempt": self._round, "dag.run.trigger": traced.trigger,
            "dag.run.outcome": body.outcome,
        }  # fmt: skip
        if self._left_out:
            attributes["dag.run.steps_left_out"] = self._left_out
        status = Status(StatusCode.OK) if body.outcome in GOOD else Status(StatusCode.ERROR, body.reason or body.outcome)
        parent = context(traced.root, *traced.parent) if traced.parent else None
        return self._span(traced.name, None, parent, attributes, status, self._began, at, [], self._links())

    def _links(self) -> list[Link]:
        """What this run repeats: the run before it, or its own round before."""
        traced, links = self._traced, []
        if traced.rerun_of:
            links.append(Link(context(*traced.rerun_of)))
        if self._round > 1:
            links.append(Link(context(traced.root, traced.run, self._round - 1)))
        return links

    def _own(self) -> SpanContext:
        return context(self._traced.root, self._traced.run, self._round)

    def _span(
        self, name: str, no: int | None, parent: SpanContext | None, attributes: dict[str, Any], status: Status, start: int, end: int,
        notes: Sequence[SpanEvent], links: Sequence[Link] = (),
    ) -> ReadableSpan:  # fmt: skip
        own = context(self._traced.root, self._traced.run, self._round, no)
        return ReadableSpan(
            name, own, parent, self._resource, attributes, notes, links, SpanKind.INTERNAL, status=status, start_time=start,
            end_time=max(start, end), instrumentation_scope=SCOPE,
        )  # fmt: skip


def open_exporter(target: Target) -> SpanExporter:
    """The exporter for a target: OTLP over HTTP, or over gRPC for an endpoint without `http://` (Dagu 1.30). Without an endpoint the
    server's variables choose, as OpenTelemetry has it."""
    headers, timeout_s = dict(target.headers) or None, target.timeout_s or None
    if target.endpoint.startswith(("http://", "https://")):
        return OTLPSpanExporter(traces_url(target.endpoint), headers=headers, timeout=timeout_s)
    if not target.endpoint and next((os.environ[name] for name in PROTOCOLS if os.environ.get(name)), "") != "grpc":
        return OTLPSpanExporter(headers=headers, timeout=timeout_s)
    exporter: SpanExporter = import_module(GRPC).OTLPSpanExporter(
        target.endpoint or None,
        insecure=target.insecure or (False if target.endpoint else None),
        headers={name.lower(): text for name, text in target.headers} or None,  # gRPC refuses capitals
        timeout=timeout_s,
    )
    return exporter


def traces_url(endpoint: str) -> str:
    """The address spans are posted to: a bare server address gets OTLP's usual path."""
    scheme, _, rest = endpoint.partition("://")
    host, slash, path = rest.partition("/")
    return endpoint if slash and path else f"{scheme}://{host}/v1/traces"


def export(exporter: SpanExporter, spans: Sequence[ReadableSpan]) -> bool:
    """Send spans, waiting for the answer; whether the collector took all of them."""
    parts = [spans[start : start + AT_ONCE] for start in range(0, len(spans), AT_ONCE)]
    return all(exporter.export(part) is SpanExportResult.SUCCESS for part in parts)
