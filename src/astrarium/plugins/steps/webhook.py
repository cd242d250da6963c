"""`webhook`: tells another server about a run. Only for deliveries of notices: it goes through the server's egress filter.

The body is what `body` holds, or the `template`: a text, or data whose texts are expanded and which is then sent as JSON, so that
what is inserted is always quoted rightly. With a `secret` the body is signed: `X-Astrarium-Signature: sha256=<hex of the HMAC>`.
`X-Astrarium-Delivery` is the same in every try, so a receiver can tell a repeated delivery. Redirects are not followed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from ...lazy import library
from ...runs.ports import Result, StepFailed, TryContext

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")

TIMEOUT_S = 30.0
ANSWER_BYTES = 4096
"""How much of an answer is read; the rest does not matter."""


class WebhookParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`template` None = send `body`. All texts are expanded."""

    url: str
    body: str = ""
    template: Any = None
    headers: dict[str, str] = {}
    secret: str = ""
    event: str = ""


class Webhook:
    """One POST; any answer but 2xx is a failure."""

    kind: ClassVar[str] = "webhook"
    Params: ClassVar[type[msgspec.Struct]] = WebhookParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: WebhookParams) -> Result:
        url = await ctx.expand(params.url)
        body, kind = await written(ctx, params)
        headers = {"content-type": kind, "user-agent": "astrarium", "x-astrarium-delivery": ctx.run_id}
        if params.event:
            headers["x-astrarium-event"] = await ctx.expand(params.event)
        if params.secret:
            key = await ctx.expand(params.secret)
            headers["x-astrarium-signature"] = "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        headers |= {name.lower(): await ctx.expand(value) for name, value in params.headers.items()}
        status = await post(ctx, url, body, headers)
        told = f"{where(url)} answered {status}"
        ctx.write(told + "\n")
        if 200 <= status <= 299:
            return Result(output=str(status))
        moved = " (redirects are not followed: name the address it moved to)" if 300 <= status <= 399 else ""
        return Result("failed", output=str(status), error=told + moved)


async def written(ctx: TryContext, params: WebhookParams) -> tuple[bytes, str]:
    """The body and its type."""
    if params.template is None:
        return (await ctx.expand(params.body)).encode(), "application/json"
    filled = await fill(ctx, params.template)
    if isinstance(filled, str):
        return filled.encode(), "text/plain; charset=utf-8"
    return json.dumps(filled, ensure_ascii=False).encode(), "application/json"


async def fill(ctx: TryContext, part: Any) -> Any:
    if isinstance(part, str):
        return await ctx.expand(part)
    if isinstance(part, dict):
        return {name: await fill(ctx, value) for name, value in part.items()}
    if isinstance(part, list):
        return [await fill(ctx, value) for value in part]
    return part


async def post(ctx: TryContext, url: str, body: bytes, headers: dict[str, str]) -> int:
    """The answer's status. `StepFailed` when there is none; its words hold no more of the address than `where`."""
    try:
        async with (
            ctx.egress.open_client(TIMEOUT_S) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            read = 0
            async for chunk in answer.aiter_raw():
                read += len(chunk)
                if read >= ANSWER_BYTES:
                    break
            return int(answer.status_code)
    except httpx2.TimeoutException:
        raise StepFailed(f"{where(url)}: no answer within {TIMEOUT_S:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        said = str(error).replace(url, where(url))
        raise StepFailed(f"{where(url)}: {said or type(error).__name__}") from None


def where(url: str) -> str:
    """The host of an address. Paths and queries of webhooks are often secrets themselves."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        return "the webhook"
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii', 'replace').rpartition('@')[2]}" if parsed.host else "the webhook"


STEP = Webhook()
