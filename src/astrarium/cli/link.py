"""Talking to the live server of a data folder over its HTTP API.

The server writes where it listens into `server.json` of its data folder. `http.client` is enough here, and loads at once."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from ..config import Settings
from ..config.live import SERVER_FILE, Server, read_live
from ..errors import AstrariumError, Conflict, Forbidden, Invalid, NotFound, Unavailable, Upstream

API = "/api/v2"
ANSWER_S = 30.0
ERRORS: dict[int, type[AstrariumError]] = {
    400: Invalid, 403: Forbidden, 404: NotFound, 409: Conflict, 422: Invalid, 503: Unavailable,
}  # fmt: skip


def live_server(settings: Settings) -> Server | None:
    """The server that works on the data folder now, if there is one."""
    return read_live(Path(settings.data_dir, SERVER_FILE))


def need_server(settings: Settings, what: str) -> Server:
    """The live server. Raises `Unavailable`, saying how to start one."""
    server = live_server(settings)
    if server is None:
        raise Unavailable(
            f"{what} needs a running server, and none works on {settings.data_dir}",
            hint="start one with `astrarium server`, or name its folder with --data-dir",
        )
    return server


def ask(server: Server, method: str, path: str, body: Any = None, *, api: str = API) -> Any:
    """One request below `api`; the decoded answer, None when it is empty. Raises what the server refused, in its words, and
    `Unavailable` when it does not answer."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port or 80, timeout=ANSWER_S)
    headers = {"Accept": "application/json"}
    if server.token:
        headers["Authorization"] = f"Bearer {server.token}"
    data = None
    if body is not None:
        data, headers["Content-Type"] = msgspec.json.encode(body), "application/json"
    try:
        with contextlib.closing(connection):
            connection.request(method, api + path, data, headers)
            answer = connection.getresponse()
            text, status = answer.read(), answer.status
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(
            f"the server at {server.url} (process {server.pid}) does not answer: {error}", hint="is it stopping? try again"
        ) from error
    document = _decode(text)
    if status >= 400:
        raise _refusal(server, status, document)
    return document


def segment(text: str) -> str:
    """`text` as one part of a path."""
    return quote(text, safe="")


def _decode(text: bytes) -> Any:
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def _detail(detail: Any) -> str:
    """What surfaces say that tell refusals as `detail`: a text, or a list of what is wrong."""
    if isinstance(detail, list):
        parts = [one for one in detail if isinstance(one, dict)]
        return "; ".join(f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg', '')}" for one in parts)
    return detail if isinstance(detail, str) else ""


def _refusal(server: Server, status: int, document: Any) -> AstrariumError:
    told = document if isinstance(document, dict) else {}
    message = str(told.get("message") or _detail(told.get("detail")) or f"{server.url} answered {status}")
    details = told.get("details")
    hint = str(details.get("hint", "")) if isinstance(details, dict) else ""
    return ERRORS.get(status, Upstream)(message, code=str(told.get("code", "")), hint=hint)
