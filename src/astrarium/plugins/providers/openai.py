"""`openai`: models behind an API as OpenAI's (`POST <base>/chat/completions`), which most servers of models speak.

Answers are streamed. A server that answers a streaming request at once, as one JSON document, is understood too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from ...lazy import library
from ...runs.ports import Answer, Model, Prompt, StepFailed, WantedCall

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")

MAX_ANSWER_BYTES = 16 * 1024 * 1024
ERROR_BYTES = 2000
REFUSED = (400, 401, 403, 404, 413, 422)
"""Answers that another try will not change."""


class OpenAI:
    """Codes of failures: `ModelUnavailable` (no connection, 5xx), `ModelBusy` (429), `ModelTimeout`, `ModelRefused` (4xx),
    `ModelAnswerError` (nothing that can be understood)."""

    kind: ClassVar[str] = "openai"

    async def ask(self, model: Model, prompt: Prompt, on_token: Callable[[str], None]) -> Answer:
        url = model.base_url.rstrip("/") + "/chat/completions"
        headers = {"authorization": f"Bearer {model.key}"} if model.key else {}
        try:
            async with (
                httpx2.AsyncClient(timeout=httpx2.Timeout(model.timeout_s)) as client,
                client.stream("POST", url, json=body_of(model, prompt), headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    raise refusal(url, answer.status_code, (await read_start(answer)).decode("utf-8", "replace"))
                if "text/event-stream" in answer.headers.get("content-type", ""):
                    return await read_stream(answer, on_token)
                return read_whole(await answer.aread(), on_token)
        except httpx2.TimeoutException:
            raise StepFailed(f"{url}: no answer within {model.timeout_s:g} s", code="ModelTimeout") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise StepFailed(f"{url}: {error or type(error).__name__}", code="ModelUnavailable") from None


def body_of(model: Model, prompt: Prompt) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model.name,
        "messages": list(prompt.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if prompt.tools:
        body["tools"] = list(prompt.tools)
    if prompt.schema:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": prompt.schema}}
    if prompt.max_tokens:
        body["max_tokens"] = prompt.max_tokens
    return body


async def read_start(answer: httpx2.Response) -> bytes:
    read = bytearray()
    async for chunk in answer.aiter_bytes():
        read += chunk
        if len(read) >= ERROR_BYTES:
            break
    return bytes(read[:ERROR_BYTES])


def refusal(url: str, status: int, text: str) -> StepFailed:
    try:
        told = json.loads(text)["error"]
        said = str(told["message"] if isinstance(told, dict) else told)
    except (ValueError, KeyError, TypeError):
        said = text.strip()
    code = "ModelBusy" if status == 429 else "ModelRefused" if status in REFUSED else "ModelUnavailable"
    return StepFailed(f"{url} answered {status}: {said[:500]}", code=code)


class Gathered:
    """An answer as it comes together from its pieces."""

    def __init__(self, on_token: Callable[[str], None]) -> None:
        self.on_token = on_token
        self.text: list[str] = []
        self.calls: dict[int, dict[str, str]] = {}
        self.tokens = 0
        self.asked = 0
        self.pieces = 0

    def take(self, chunk: Any) -> None:
        """One chunk of the stream. Raises `StepFailed` when it tells of an error."""
        if not isinstance(chunk, dict):
            raise StepFailed("the model's server sent something else than an object", code="ModelAnswerError")
        if chunk.get("error"):
            raise StepFailed(f"the model's server broke off: {str(chunk['error'])[:500]}", code="ModelUnavailable")
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.tokens = whole(usage.get("total_tokens")) or self.tokens
            self.asked = min(whole(usage.get("prompt_tokens")) or self.asked, self.tokens)
        for choice in chunk.get("choices") or ():
            self._take_delta(choice.get("delta") or choice.get("message") or {})

    def _take_delta(self, delta: dict[str, Any]) -> None:
        piece = delta.get("content")
        if isinstance(piece, str) and piece:
            self.text.append(piece)
            self.pieces += 1
            self.on_token(piece)
        for place, part in enumerate(delta.get("tool_calls") or ()):
            call = self.calls.setdefault(int(part.get("index", place)), {"id": "", "name": "", "arguments": ""})
            function = part.get("function") or {}
            call["id"] = part.get("id") or call["id"]
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""

    def answer(self) -> Answer:
        """A server that does not count is counted for: one token a piece."""
        calls = tuple(
            WantedCall(call["id"] or f"call_{place}", call["name"], call["arguments"] or "{}")
            for place, call in sorted(self.calls.items())
        )
        return Answer("".join(self.text), calls, self.tokens or self.pieces, self.asked)


def whole(value: Any) -> int:
    """A count, whatever a server sent for it."""
    return value if isinstance(value, int) and value > 0 else 0


async def read_stream(answer: httpx2.Response, on_token: Callable[[str], None]) -> Answer:
    gathered, read, ended = Gathered(on_token), 0, False
    async for line in answer.aiter_lines():
        read += len(line)
        if read > MAX_ANSWER_BYTES:
            raise StepFailed(f"the model's answer is longer than {MAX_ANSWER_BYTES} bytes", code="ModelAnswerError")
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            ended = True
            break
        gathered.take(decoded(data))
    if not ended and not gathered.pieces and not gathered.calls:
        raise StepFailed("the model's answer broke off before it began", code="ModelUnavailable")
    return gathered.answer()


def read_whole(data: bytes, on_token: Callable[[str], None]) -> Answer:
    gathered = Gathered(on_token)
    gathered.take(decoded(data))
    return gathered.answer()


def decoded(data: str | bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StepFailed(f"the model's server sent no JSON: {error}", code="ModelAnswerError") from None


PROVIDER = OpenAI()
