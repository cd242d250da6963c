"""What a DAG's `otel` block asks for that is not installed: complained of when the DAG is loaded, not when its first run ended."""

from __future__ import annotations

from importlib.util import find_spec

from .....errors import Invalid, Problem
from .....runs.work.trace import otel_of
from .....spec.graph import Graph

HTTP = "opentelemetry.exporter.otlp.proto.http"
GRPC = "opentelemetry.exporter.otlp.proto.grpc"
HINT = "install astrarium with its extra: astrarium[otel], or set `enabled: false`"


def check_otel(graph: Graph) -> None:
    """Refuse a DAG whose traces could not be sent. Raises `Invalid`."""
    block = otel_of(graph)
    if not block:
        return
    if not has_module(HTTP):
        problem = Problem("`otel` is enabled, and OpenTelemetry's libraries are not installed", path="otel", hint=HINT)
        raise Invalid(problem.message, [problem], hint=HINT)
    endpoint = str(block.get("endpoint") or "")
    if endpoint and not endpoint.startswith(("http://", "https://", "$")) and not has_module(GRPC):
        told = f"the endpoint {endpoint} is one for gRPC, and its exporter is not installed"
        hint = (
            "use OTLP over HTTP, e.g. http://localhost:4318, or install astrarium with its extra otel"
            " (opentelemetry-exporter-otlp-proto-grpc)"
        )
        raise Invalid(told, [Problem(told, path="otel.endpoint", hint=hint)], hint=hint)


def has_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
