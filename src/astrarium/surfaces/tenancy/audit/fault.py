"""A server error as the audit log keeps it: the traceback under its `error_id`, with all secrets we know masked.

The client is told the id only, and the server's own log too.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from ....config import Settings
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.types import Actor
from ....runs.work.redact import MASK, redact
from ....web.caller import PERSONAL, Caller, credential_of

ACT = "error"
MOST_CHARACTERS = 16_384
"""Of a traceback: its end is kept, where the error is."""
LOOKS_SECRET = re.compile(
    r"\bsk_[0-9a-f]{6}_[\w-]{8,}|\bdagu_[\w-]{8,}|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+|(?<=://)[^/\s@'\"]*:[^/\s'\"]+(?=@)"
    r"|(?i:(?<=bearer )|(?<=basic )|(?<=apikey ))[\w+/=.~-]{8,}"
)
"""Keys, tokens of webhooks, signed tokens, passwords in addresses, whoever they belong to."""
PASSWORD_IN_URL = re.compile(r"://[^/?#@:]*:(.+)@")


class Faults:
    """Of one server. `local_token` is what `server.json` holds."""

    def __init__(self, engine: Engine, settings: Settings, local_token: str = "") -> None:
        self._engine = engine
        self._secrets = tuple(value for value in (*secrets_of(settings), local_token) if value)

    async def record(self, scope: Mapping[str, Any], error_id: str, error: BaseException) -> None:
        """Keep what went wrong with a request (its ASGI scope). Raises `Unavailable` when nothing can be written."""
        state = scope.get("state", {})
        caller: Caller | None = state.get("caller")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        secrets = (*self._secrets, *_presented(headers))
        told = masked("".join(traceback.format_exception(error)), secrets)
        command = act(
            caller.scope if caller is not None else PERSONAL, caller.actor if caller is not None else Actor("user", ""), ACT,
            f"{ACT}:{error_id}", method=scope.get("method", "WebSocket"), path=masked(scope["path"], secrets)[:200],
            request_id=state.get("request_id", ""), kind=type(error).__name__, traceback=told[-MOST_CHARACTERS:],
        )  # fmt: skip
        await self._engine.submit(command)


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """The text without these secrets, plain or encoded, and without what looks like one."""
    return LOOKS_SECRET.sub(MASK, redact(text.encode("utf-8", "replace").decode(), secrets))


def secrets_of(settings: Settings) -> Iterator[str]:
    """Every secret the settings hold."""
    yield from (settings.auth_token, settings.auth_password, settings.admin_password, settings.database_url)
    yield from PASSWORD_IN_URL.findall(settings.database_url)
    yield from (part.strip() for part in settings.master_key.split(","))
    for node in settings.remote_nodes.values():
        yield from (node.password, node.token)


def _presented(headers: Mapping[str, str]) -> Iterator[str]:
    """What a request showed to be somebody."""
    credential = credential_of(headers)
    yield credential
    scheme, _, rest = credential.partition(" ")
    yield rest.strip()
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, ValueError):
            yield base64.b64decode(rest + "==").decode("latin-1").partition(":")[2]
    yield headers.get("cookie", "")
