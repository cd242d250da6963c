"""How errors of workspaces look: `{"detail": …}`, with the texts the build registry's clients branch on.

What is wrong with a request's fields is 422 and a list, as FastAPI gives it. A 401 says in words which credential it was: clients take
one with `expired` for a token to renew, one with `API key` for a wrong key, `Not authenticated` for none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what only names our prefix stays free of the web framework
    from ...errors import Problem
    from ...web.problems import Fault, Shapes

PREFIX = "/api/v1"
UI_PREFIX = "/api/v1/ui"
"""The same routes once more: the spelling of the registry's own command line."""
NOUNS = ("ui", "me", "workspaces", "auth")
"""First segments this surface owns under the prefix."""
SDK_NOUNS = ("target-roots",)
"""Those of its routes that the registry's SDK calls."""
NO_CREDENTIAL = "this server wants a credential"
SDK_MISSING = "Authentication required. Provide X-API-Key header or Bearer token."
TOKEN_PATH = PREFIX + "/auth/token"
BARE_PREFIX = "/auth"
"""Some routes of signing in once more, as old clients of the registry spell them."""
OAUTH_CODES = frozenset((
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
))  # fmt: skip
PLACES = ("path", "query", "header", "body")


def shape(fault: Fault) -> tuple[int, dict[str, Any]]:
    if not fault.routed and fault.status == 404:
        return 404, {"detail": "Not Found"}
    if fault.status == 401:
        return 401, {"detail": _unauthenticated(fault)}
    if fault.problems and fault.status == 400:
        return 422, {"detail": [_wrong(problem) for problem in fault.problems]}
    body: dict[str, Any] = {"detail": f"{fault.message} ({fault.hint})" if fault.hint else fault.message}
    if fault.error_id:
        body["error_id"] = fault.error_id
    return fault.status, body


def sdk_shape(fault: Fault) -> tuple[int, dict[str, Any]]:
    """As `shape`, on routes of the SDK: who presents no credential is told which there are."""
    if fault.status == 401 and "credential" not in fault.details:
        return 401, {"detail": SDK_MISSING}
    return shape(fault)


def oauth_shape(fault: Fault) -> tuple[int, dict[str, Any]]:
    """As RFC 6749, 5.2 has it."""
    code = fault.code if fault.code in OAUTH_CODES else "invalid_request" if fault.status < 500 else "temporarily_unavailable"
    body = {"error": code, "error_description": f"{fault.message} ({fault.hint})" if fault.hint else fault.message}
    if fault.error_id:
        body |= {"error": "server_error", "error_id": fault.error_id}
    return fault.status, body


def _unauthenticated(fault: Fault) -> str:
    if "credential" not in fault.details:
        return "Not authenticated" if fault.message == NO_CREDENTIAL else fault.message
    key, expired = fault.details["credential"] == "key", fault.details["expired"]
    if key:
        return "API key has expired" if expired else "Invalid API key"
    return "Token has expired" if expired else f"Invalid token: {fault.message}"


def _wrong(problem: Problem) -> dict[str, Any]:
    """A problem's path begins with `path.`, `query.` or `header.`, else it is one in the body."""
    where = [part for part in problem.path.split(".") if part]
    loc = where if where and where[0] in PLACES else ["body", *where]
    _, missing, field = problem.message.partition("missing required field `")
    if missing:
        return {"type": "missing", "loc": [*loc, field.partition("`")[0]], "msg": "Field required", "input": None}
    return {"type": "value_error", "loc": loc, "msg": problem.message, "input": None}


def register(shapes: Shapes) -> None:
    for noun in NOUNS:
        shapes.register(f"{PREFIX}/{noun}", shape)
    shapes.register(TOKEN_PATH, oauth_shape)
    shapes.register(BARE_PREFIX, shape)
    for noun in SDK_NOUNS:
        shapes.register(f"{PREFIX}/{noun}", sdk_shape)
