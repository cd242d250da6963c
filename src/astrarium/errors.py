"""The one error tree. Every refusal a user can meet is one of these, and a surface's `routes` only choose its wire shape.

An error says what is wrong (`message`), which code a program may branch on (`code`), how to mend it (`hint`) and, for bad
input, every problem found with its place (`problems`).
"""

from __future__ import annotations

from typing import Any

import msgspec


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One complaint about something a user wrote. `line` and `column` count from 1; 0 means the place is not known."""

    message: str
    path: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    hint: str = ""

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line or "", self.column or "") if part)
        said = f"{where}: {self.message}" if where else self.message
        return f"{said} ({self.hint})" if self.hint else said


class AstrariumError(Exception):
    """The root: never raised itself. `status` is the HTTP status a surface answers unless its contract says otherwise."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str, *, code: str = "", hint: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code:
            self.code = code
        self.hint = hint
        self.details = details or {}


class Refused(AstrariumError):
    """The life is not in a state that allows the command. Nothing changed."""

    status = 409
    code = "refused"


class Invalid(AstrariumError):
    """The input is wrong; `problems` lists everything found, not only the first."""

    status = 400
    code = "bad_request"

    def __init__(self, message: str, problems: tuple[Problem, ...] | list[Problem] = (), *, code: str = "", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.problems = tuple(problems)


class NotFound(AstrariumError):
    status = 404
    code = "not_found"


class Gone(NotFound):
    """It was there, and is no longer kept."""

    status = 410
    code = "gone"


class Unauthenticated(AstrariumError):
    """A credential is missing or not valid. `challenge` tells which are taken (the header `WWW-Authenticate`)."""

    status = 401
    code = "unauthorized"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        details: dict[str, Any] | None = None,
        challenge: str = 'Bearer realm="astrarium"',
    ) -> None:
        super().__init__(message, code=code, hint=hint, details=details)
        self.challenge = challenge


class Forbidden(AstrariumError):
    status = 403
    code = "forbidden"


class Conflict(AstrariumError):
    """An expected version or sequence number did not match."""

    status = 409
    code = "conflict"


class Outdated(Conflict):
    """The version a client says it saw (`If-Match`) is not the present one."""

    status = 412
    code = "precondition_failed"


class Held(AstrariumError):
    """A slot (lock, limit, name) is held by someone else."""

    status = 409
    code = "held"


class TooMuch(AstrariumError):
    """A named limit of `config` was exceeded."""

    status = 413
    code = "too_much"


class TooSlow(AstrariumError):
    """The client took longer than it may."""

    status = 408
    code = "timeout"


class TooOften(AstrariumError):
    """A caller asks more often than it may. The same call may succeed after `retry_after_s` seconds."""

    status = 429
    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: int, hint: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint=hint, details=details)
        self.retry_after_s = retry_after_s


class Upstream(AstrariumError):
    """Something outside that we called failed."""

    status = 502
    code = "bad_gateway"


class Unavailable(AstrariumError):
    """The store or the process cannot serve now; the same call may succeed later."""

    status = 503
    code = "unavailable"


class Bug(AstrariumError):
    """A broken promise of our own code; never the caller's fault."""
