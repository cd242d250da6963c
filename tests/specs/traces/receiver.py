"""A collector that keeps what it is sent: OTLP over HTTP on a loopback port."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DEADLINE_S = 30.0


class Receiver:
    """`refuse` requests are answered 503 first. `spans` by name, the last of each; `seen` counts how often each id came."""

    def __init__(self, refuse: int = 0) -> None:
        self.refuse = refuse
        self.asked = 0
        self.spans: dict[str, Any] = {}
        self.resources: list[dict[str, str]] = []
        self.seen: dict[bytes, int] = {}
        self.headers: list[dict[str, str]] = []
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

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
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
        self.headers.append({name.lower(): value for name, value in headers.items()})
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            self.resources.append(attributes(resource.resource.attributes))
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.seen[span.span_id] = self.seen.get(span.span_id, 0) + 1
                    self.spans[span.name] = span
        return 200

    def until(self, *names: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            if all(name in self.spans for name in names):
                return
            time.sleep(0.01)
        raise AssertionError(f"of {names} only {sorted(self.spans)} came, {self.asked} requests")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def attributes(given: Any) -> dict[str, str]:
    return {one.key: str(getattr(one.value, one.value.WhichOneof("value"))) for one in given}
