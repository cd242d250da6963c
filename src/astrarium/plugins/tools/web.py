"""One request for a tool. Addresses come from a model or from data, so they go through the server's egress filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ...lazy import library
from ...runs.ports import StepFailed, TryContext

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")

MAX_BYTES = 2 * 1024 * 1024
MOST_S = 120
SCHEMES = ("http://", "https://")


class Page(NamedTuple):
    status: int
    url: str
    headers: dict[str, str]
    text: str
    cut: bool


async def fetch(ctx: TryContext, method: str, url: str, *, headers: Mapping[str, str], body: str, timeout_s: float) -> Page:
    """The answer, at most `MAX_BYTES` of it. Raises `StepFailed`, and `Forbidden` for an address inside the server's own network."""
    if not url.startswith(SCHEMES):
        raise StepFailed(f"{url!r} is no http or https address", code="ValueError")
    timeout_s = min(timeout_s, MOST_S)
    asked: dict[str, Any] = {"headers": dict(headers), "content": body.encode() if body else None}
    try:
        async with (
            ctx.egress.open_client(timeout_s) as client,
            client.stream(method, url, follow_redirects=True, **asked) as answer,
        ):
            data, cut = bytearray(), False
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) > MAX_BYTES:
                    cut = True
                    break
            text = bytes(data[:MAX_BYTES]).decode(answer.charset_encoding or "utf-8", "replace")
            return Page(answer.status_code, str(answer.url), dict(answer.headers), text, cut)
    except httpx2.TimeoutException:
        raise StepFailed(f"{url}: no answer within {timeout_s:g} s", code="TimeoutError") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, LookupError, ValueError) as error:
        raise StepFailed(f"{url}: {error or type(error).__name__}", code="ConnectionError") from None
