"""`http`: one request (Dagu 1.30: `type: http`, command = `METHOD URL`, script or `body` = body).

An answer that is not 2xx fails the step. Shown are status line, headers and body; with `silent` the body alone; with `json`
one object `{"statusCode", "headers", "body"}`; `debug` shows the request too. What is shown is the step's output.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from ...lazy import library
from ...runs.ports import Result, StepFailed, TryContext

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")

MAX_BODY_BYTES = 64 * 1024 * 1024
_MASKED = ("authorization", "cookie", "proxy-authorization", "x-api-key")


class HttpParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`timeout_s` 0 = none of its own (a step's `timeoutSec` still ends it)."""

    method: str
    url: str
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    body: str = ""
    timeout_s: float = 0.0
    silent: bool = False
    debug: bool = False
    json: bool = False
    skip_tls_verify: bool = False


class Answer(msgspec.Struct, frozen=True):
    status: int
    reason: str
    version: str
    headers: list[tuple[str, str]]
    text: str

    def shown(self, params: HttpParams) -> str:
        if params.json:
            return json.dumps(
                {"statusCode": self.status, "headers": _grouped(self.headers), "body": self._body()}, ensure_ascii=False
            )
        if params.silent and 200 <= self.status <= 299:
            return self.text
        head = [f"{self.version} {self.status} {self.reason}".rstrip(), *(f"{name}: {value}" for name, value in self.headers)]
        return "\n".join([*head, "", self.text])

    def _body(self) -> Any:
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return self.text


def _grouped(headers: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in headers:
        grouped.setdefault(name, []).append(value)
    return grouped


class Http:
    """Asks and shows the answer."""

    kind: ClassVar[str] = "http"
    Params: ClassVar[type[msgspec.Struct]] = HttpParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: HttpParams) -> Result:
        asked = await self._expanded(ctx, params)
        if params.debug:
            lines = (f"> {name}: {'***' if name.lower() in _MASKED else value}" for name, value in asked.headers.items())
            ctx.write("\n".join([f"> {asked.method} {asked.url}", *lines, "", ""]), error=True)
        answer = await ask(asked)
        output = answer.shown(params)
        ctx.write(output if output.endswith("\n") or not output else output + "\n")
        if 200 <= answer.status <= 299:
            return Result(output=output)
        failure = f"{asked.method} {asked.url} answered {answer.status} {answer.reason}".rstrip()
        return Result("failed", output=output, error=failure)

    async def _expanded(self, ctx: TryContext, params: HttpParams) -> HttpParams:
        return msgspec.structs.replace(
            params,
            url=await ctx.expand(params.url),
            headers={name: await ctx.expand(value) for name, value in params.headers.items()},
            query={name: await ctx.expand(value) for name, value in params.query.items()},
            body=ctx.expand_elsewhere(params.body, script=True),
        )


async def ask(params: HttpParams) -> Answer:
    """Send the request, follow redirects, read the whole answer. `StepFailed` when there is none."""
    timeout = httpx2.Timeout(params.timeout_s or None)
    try:
        async with (
            httpx2.AsyncClient(timeout=timeout, verify=not params.skip_tls_verify, follow_redirects=True) as client,
            client.stream(
                params.method,
                params.url,
                params=params.query or None,
                headers=params.headers,
                content=params.body.encode() if params.body else None,
            ) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise StepFailed(f"{params.method} {params.url}: the answer is longer than {MAX_BODY_BYTES} bytes")
            text = body.decode(response.charset_encoding or "utf-8", "replace")
            return Answer(
                response.status_code, response.reason_phrase, response.http_version, list(response.headers.multi_items()), text
            )
    except httpx2.TimeoutException:
        raise StepFailed(f"{params.method} {params.url}: no answer within {params.timeout_s:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, LookupError, ValueError) as error:
        raise StepFailed(f"{params.method} {params.url}: {error or type(error).__name__}") from None


STEP = Http()
