"""Passing requests on to other servers: only to the addresses the settings name, and only with the credential they give for it.

What goes over: method, path below the API, the query without the item that chose the node, the body, and the headers that say
what the body and the wanted answer are. The caller's own credential and cookies stay here. The answer streams through, so its size costs
no memory.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..config import RemoteNode
from ..errors import Invalid, Problem, Upstream
from ..lazy import library

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")

TIMEOUT_S = 30.0
"""How long a node may take to connect, to answer, and between two parts of its answer (Dagu 1.30)."""
SENT = frozenset(("accept", "accept-language", "content-type", "last-event-id", "x-request-id"))
"""Headers of the caller that go over; all others are about the connection, or about who the caller is here."""
KEPT = frozenset(("content-type", "content-disposition", "cache-control", "etag", "last-modified", "retry-after"))
"""Headers of the node's answer that come back."""


class Remote:
    """The nodes of the settings by name, below `prefix` here. Connections are made when a node is asked; `close` at the end."""

    def __init__(self, nodes: Mapping[str, RemoteNode], prefix: str) -> None:
        self._nodes = nodes
        self._prefix = prefix
        self._clients: dict[bool, httpx2.AsyncClient] = {}

    def node(self, name: str) -> RemoteNode:
        """A node by its name. Raises `Invalid` for one the settings do not have."""
        node = self._nodes.get(name)
        if node is None:
            known = ", ".join(["local", *sorted(self._nodes)])
            problem = Problem(f"must be one of: {known}", path="remoteNode")
            raise Invalid(
                f"there is no remote node {name[:80]!r}", [problem], hint=f"known are {known}; see the setting remote_nodes"
            )
        return node

    async def pass_on(self, request: Request, name: str, item: str) -> Response:
        """The answer of node `name` to this request; `item` is the query item that named it. Raises `Invalid` for an unknown node,
        `Upstream` (`remote_node_error`, `bad_gateway`) when it cannot be reached or breaks off."""
        node = self.node(name)
        body = await request.body()
        url = node.url.rstrip("/") + self._below(request)
        query = [(key, value) for key, value in request.query_params.multi_items() if key != item]
        headers = {key: value for key, value in request.headers.items() if key in SENT} | sign_in(node)
        client = self._client(node.verify_tls)
        asked = client.build_request(
            request.method, f"{url}?{urlencode(query)}" if query else url, content=body or None, headers=headers
        )
        try:
            answer = await client.send(asked, stream=True)
        except httpx2.TimeoutException:
            raise Upstream(
                f"remote node {name!r} did not answer within {TIMEOUT_S:g} s",
                code="remote_node_error",
                hint="see whether it runs",
            ) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Upstream(
                f"remote node {name!r} cannot be reached: {reason(error)}", code="remote_node_error",
                hint="see whether it runs and whether its url in remote_nodes is right",
            ) from None  # fmt: skip
        if answer.is_redirect:
            await answer.aclose()
            raise Upstream(
                f"remote node {name!r} answers with a redirect", code="bad_gateway", hint="give its final address in remote_nodes"
            )
        kept = {key: value for key, value in answer.headers.items() if key in KEPT}
        return StreamingResponse(parts(answer), answer.status_code, kept)

    def _below(self, request: Request) -> str:
        """The path below the API, as it came; dots that would leave it are refused, since we decided by the path as it stands."""
        path = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0] or request.url.path
        if any(unquote(part) in (".", "..") for part in path.split("/")):
            raise Invalid("the path holds `.` or `..`", [Problem("must not hold dot segments", path="path")])
        return path.removeprefix(self._prefix)

    def _client(self, verify: bool) -> httpx2.AsyncClient:
        """One pool for nodes whose certificates are checked, one for the others; neither follows redirects nor reads proxies or
        credentials from the environment."""
        if verify not in self._clients:
            self._clients[verify] = httpx2.AsyncClient(timeout=TIMEOUT_S, verify=verify, trust_env=False, follow_redirects=False)
        return self._clients[verify]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()


async def parts(answer: httpx2.Response) -> AsyncIterator[bytes]:
    """The node's body as it comes. A node that breaks off breaks our answer off too, so that the client sees it is not whole."""
    try:
        async for part in answer.aiter_bytes():
            yield part
    finally:
        await answer.aclose()


def sign_in(node: RemoteNode) -> dict[str, str]:
    """The header by which a node knows us."""
    if node.token:
        return {"authorization": f"Bearer {node.token}"}
    if node.username:
        pair = f"{node.username}:{node.password}".encode()
        return {"authorization": "Basic " + base64.b64encode(pair).decode()}
    return {}


def reason(error: Exception) -> str:
    """What went wrong, without the address, which may hold a credential."""
    return str(error) or type(error).__name__
