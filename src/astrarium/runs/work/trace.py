"""Names in distributed traces, all made from ids of runs: the same span has the same name however often it is told.

A trace is a run with all runs below it; a run's id has as many bits as a trace's. Each round of a run and each step in it is a span.
Times and spans themselves are made where they are exported; a process only needs to know its place (`TRACEPARENT`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ...spec.graph import Graph

TRACEPARENT = "TRACEPARENT"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Variables of the server that turn traces on for every DAG."""


def trace_id(root: str) -> str:
    """The trace of a run and all runs below it, 32 hex digits; `root` is the topmost run's id."""
    digits = root.replace("-", "").lower()
    if len(digits) == 32 and all(digit in "0123456789abcdef" for digit in digits) and digits.strip("0"):
        return digits
    return hashlib.sha256(root.encode()).hexdigest()[:32]


def span_id(run: str, round_no: int, no: int | None = None) -> str:
    """The span of a round of a run, or of a step in it, 16 hex digits."""
    place = f"{run}/{round_no}" if no is None else f"{run}/{round_no}/{no}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def traceparent(root: str, run: str, round_no: int, no: int) -> str:
    """What a process of a step is told, in W3C's form."""
    return f"00-{trace_id(root)}-{span_id(run, round_no, no)}-01"


def otel_of(graph: Graph) -> Mapping[str, Any]:
    """The DAG's `otel` block where it is enabled, else empty."""
    found: Any = graph.meta.get("dag", {}).get("otel") or {}
    return found if found.get("enabled") is True else {}


def is_traced(graph: Graph, server: Mapping[str, str]) -> bool:
    """Whether runs of a graph are traced: its own block says so, or the server's environment. A block with `enabled: false` says no."""
    block: Any = graph.meta.get("dag", {}).get("otel") or {}
    if "enabled" in block:
        return block["enabled"] is True
    return any(server.get(name) for name in ENDPOINTS)
