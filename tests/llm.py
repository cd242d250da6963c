"""A model for tests: a small server that speaks OpenAI's wire format and answers what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Calls(NamedTuple):
    """An answer that asks for calls of tools: (name, arguments) each; `text` is said beside them."""

    calls: list[tuple[str, Any]]
    text: str = ""


class Refuse(NamedTuple):
    """An answer that is an error."""

    status: int
    message: str = "no"


class Plain(NamedTuple):
    """An answer sent at once, not as a stream."""

    text: str


class Raw(NamedTuple):
    """Bytes instead of an answer."""

    data: bytes
    kind: str = "text/event-stream"


class Stall(NamedTuple):
    """No answer until the server is closed."""


Reply = str | dict[str, Any] | Calls | Refuse | Plain | Raw | Stall
Script = list[Reply] | Callable[[dict[str, Any]], Reply]


class FakeModel:
    """`script`: the answers in their order (the last one again and again), or a function of the request. A mapping is an answer in
    JSON. `asked` are the requests as they came."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def reply(self, request: dict[str, Any], key: str) -> Reply:
        with self._lock:
            place = len(self.asked)
            self.asked.append(request)
            self.keys.append(key)
        if callable(self.script):
            return self.script(request)
        return self.script[min(place, len(self.script) - 1)]

    url = ""


def pieces(text: str) -> Iterator[str]:
    """A text as a model would give it: word by word."""
    word = ""
    for sign in text:
        word += sign
        if sign == " ":
            yield word
            word = ""
    if word:
        yield word


def chunks(reply: Reply) -> Iterator[dict[str, Any]]:
    text = reply.text if isinstance(reply, Calls) else json.dumps(reply) if isinstance(reply, dict) else str(reply)
    count = 0
    for piece in pieces(text):
        count += 1
        yield {"choices": [{"index": 0, "delta": {"content": piece}}]}
    if isinstance(reply, Calls):
        for place, (name, arguments) in enumerate(reply.calls):
            written = arguments if isinstance(arguments, str) else json.dumps(arguments)
            head, rest = written[:3], written[3:]
            function = {"name": name, "arguments": head}
            yield {
                "choices": [
                    {"index": 0, "delta": {"tool_calls": [{"index": place, "id": f"call-{place}", "function": function}]}}
                ]
            }
            yield {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": place, "function": {"arguments": rest}}]}}]}
    yield {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}}


def _answerer(model: FakeModel) -> type[BaseHTTPRequestHandler]:
    class Answerer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            key = self.headers.get("authorization", "")
            self._send(model.reply(request, key) if self.path.endswith("/chat/completions") else Refuse(404, "no such page"))

        def _send(self, reply: Reply) -> None:
            if isinstance(reply, Stall):
                model.closing.wait()
                self.close_connection = True
            elif isinstance(reply, Refuse):
                self._whole(reply.status, json.dumps({"error": {"message": reply.message}}).encode(), "application/json")
            elif isinstance(reply, Raw):
                self._whole(200, reply.data, reply.kind)
            elif isinstance(reply, Plain):
                message = {"role": "assistant", "content": reply.text}
                told = {"choices": [{"index": 0, "message": message}], "usage": {"total_tokens": 7}}
                self._whole(200, json.dumps(told).encode(), "application/json")
            else:
                lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks(reply)]
                self._whole(200, "".join([*lines, "data: [DONE]\n\n"]).encode(), "text/event-stream")

        def _whole(self, status: int, data: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *about: Any) -> None:
            pass

    return Answerer


@contextmanager
def fake_model(script: Script) -> Iterator[FakeModel]:
    """The model, at `url`, while this holds."""
    model = FakeModel(script)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answerer(model))
    server.daemon_threads = True
    model.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
