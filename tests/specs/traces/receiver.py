"""A collector that keeps what it is sent: OTLP over HTTP on a loopback port."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DEADLINE_S = 30.0


class Receiver:
    """`refuse` requests are answered 503 first. `spans` by name, the last of each; `seen` counts how often each id came; `raw` is
    all that came."""

    def __init__(self, refuse: int = 0, port: int = 0) -> None:
        self.refuse = refuse
        self.asked = 0
        self.spans: dict[str, Any] = {}
        self.resources: list[dict[str, str]] = []
        self.seen: dict[bytes, int] = {}
        self.headers: list[dict[str, str]] = []
        self.raw = b""
        receiver = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.take(self.path, dict(self.headers.items()), data)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, path: str, headers: dict[str, str], data: bytes) -> int:
        self.asked += 1
        if path != "/v1/traces":
            return 404
        if self.asked <= self.refuse:
            return 503
        if headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        self.keep({name.lower(): value for name, value in headers.items()}, ExportTraceServiceRequest.FromString(data))
        return 200

    def keep(self, headers: dict[str, str], request: Any) -> None:
        self.headers.append(headers)
        self.raw += request.SerializeToString()
        came: dict[str, Any] = {}
        for resource in request.resource_spans:
            self.resources.append(attributes(resource.resource.attributes))
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.seen[span.span_id] = self.seen.get(span.span_id, 0) + 1
                    came[span.name] = span
        self.spans.update(came)

    def until(self, *names: str) -> None:
        self.wait(lambda: all(name in self.spans for name in names), f"spans {names}")

    def run(self, name: str, run: str, attempt: int = 1) -> Any:
        """The span of a run's attempt, as soon as it came; those of its steps came with it."""
        wanted = {"dag.run.id": run, "dag.run.attempt": str(attempt)}.items()
        self.wait(lambda: name in self.spans and wanted <= attributes(self.spans[name].attributes).items(), f"{name}/{run}")
        return self.spans[name]

    def wait(self, good: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            if good():
                return
            time.sleep(0.01)
        raise AssertionError(f"{what} did not come, only {sorted(self.spans)}, {self.asked} requests")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class GrpcReceiver(Receiver):
    """The same over gRPC, without TLS; `url` has no scheme then."""

    def __init__(self) -> None:
        super().__init__()
        import grpc
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        receiver = self

        class Answer(service.TraceServiceServicer):  # type: ignore[misc]
            def Export(self, request: Any, context: Any) -> Any:
                receiver.asked += 1
                receiver.keep(dict(context.invocation_metadata()), request)
                return ExportTraceServiceResponse()

        self._grpc = grpc.server(ThreadPoolExecutor(1))
        service.add_TraceServiceServicer_to_server(Answer(), self._grpc)
        self.url = f"localhost:{self._grpc.add_insecure_port('localhost:0')}"
        self._grpc.start()

    def close(self) -> None:
        self._grpc.stop(None).wait()
        super().close()


def attributes(given: Any) -> dict[str, str]:
    return {one.key: str(getattr(one.value, one.value.WhichOneof("value"))) for one in given}
