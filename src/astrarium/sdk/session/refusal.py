"""What a registry refused, as our errors. The headlines are those of the documentation's troubleshooting, each with the command that
mends it; `details` has the status and the answer, for callers that branch on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import (
    AstrariumError,
    Conflict,
    Forbidden,
    Held,
    Invalid,
    NotFound,
    Problem,
    TooMuch,
    TooOften,
    Unauthenticated,
    Unavailable,
    Upstream,
)

NO_ROUTE = "Not Found"
"""The whole text of a 404 for a route that is not known; a missing thing has other words (Stardag)."""
WORKSPACE_WORDS = (
    "workspace not found",
    "not a member of the requested workspace",
    "environment does not belong to your workspace",
)
ENVIRONMENT_WORDS = ("environment not found",)
LOGIN_HINT = "see `astrarium auth status`, then sign in with `astrarium auth login`"
PLACE_HINT = "`astrarium config show` tells which one is used and why, `astrarium config list workspaces` which there are"
ENVIRONMENT_HINT = "`astrarium config show` tells which one is used and why, `astrarium config list environments` which there are"
_KINDS: dict[int, type[AstrariumError]] = {
    403: Forbidden, 404: NotFound, 405: Invalid, 409: Conflict, 410: NotFound, 412: Conflict, 413: TooMuch, 423: Held,
    503: Unavailable,
}  # fmt: skip


def refusal(method: str, url: str, status: int, document: Any, headers: Mapping[str, str]) -> AstrariumError:
    """The error for an answer that is no success."""
    error = _error(method, url, status, document, headers)
    error.details = {"status": status, "answer": document}
    return error


def _error(method: str, url: str, status: int, document: Any, headers: Mapping[str, str]) -> AstrariumError:
    told = _told(document)
    if 300 <= status < 400:
        where = headers.get("location", "elsewhere")
        return Upstream(f"{url} answers with a redirect to {where}", hint="give the registry's final address")
    if status == 401:
        return authentication_failed(told or f"{url} wants a credential")
    if status in (403, 404) and told.lower().startswith(WORKSPACE_WORDS):
        return workspace_not_found("" if told.lower() == WORKSPACE_WORDS[0] else told)
    if status == 404 and told.lower().startswith(ENVIRONMENT_WORDS):
        return NotFound(told, code="environment_not_found", hint=ENVIRONMENT_HINT)
    if status == 404 and told == NO_ROUTE:
        hint = "is the registry's address right, and the server not older than this client?"
        return NotFound(f"{url} is not known there ({method})", code="unknown_route", hint=hint)
    if status == 429:
        return TooOften(told or "too many requests", retry_after_s=wait_of(headers) or 1)
    if status in (400, 422):
        problems = _problems(document)
        if len(problems) > 1:
            return Invalid(f"the registry refuses {len(problems)} values", problems)
        return Invalid(told or f"{url} answered {status}")
    kind = _KINDS.get(status, Upstream)
    if kind is Invalid:
        return Invalid(told or f"{url} answered {status}")
    return kind(told or f"{url} answered {status}")


def authentication_failed(why: str, hint: str = LOGIN_HINT) -> Unauthenticated:
    return Unauthenticated(f"Authentication failed: {why}", code="authentication_failed", hint=hint)


def workspace_not_found(why: str = "", hint: str = PLACE_HINT) -> NotFound:
    return NotFound(f"Workspace not found: {why}" if why else "Workspace not found", code="workspace_not_found", hint=hint)


def target_root_mismatch(why: str) -> Conflict:
    return Conflict(
        f"Target root mismatch: {why}",
        code="target_root_mismatch",
        hint="take over the server's with `astrarium config target-roots sync`",
    )


def wait_of(headers: Mapping[str, str]) -> int | None:
    """Seconds an answer asks to wait (`Retry-After`), if it does."""
    text = headers.get("retry-after", "")
    return max(1, int(text)) if text.isascii() and text.isdigit() else None


def _told(document: Any) -> str:
    """The words of a refusal, whatever shape the surface gives it."""
    if isinstance(document, str):
        return document
    if isinstance(document, list):
        return "; ".join(filter(None, map(_told, document)))
    if isinstance(document, dict):
        for name in ("detail", "message", "error_message", "msg", "error_description", "error"):
            if document.get(name):
                return _told(document[name])
    return ""


def _problems(document: Any) -> list[Problem]:
    listed = document.get("detail") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        return []
    return [
        Problem(str(one.get("msg", "")), path=".".join(map(str, one.get("loc", ())))) for one in listed if isinstance(one, dict)
    ]
