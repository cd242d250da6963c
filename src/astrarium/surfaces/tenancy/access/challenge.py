"""How a refused credential is answered."""

from __future__ import annotations

from ....config import Settings
from ....errors import Unauthenticated
from ..problem import NO_CREDENTIAL


class Challenge:
    """The `WWW-Authenticate` of a refusal, and its words."""

    def __init__(self, settings: Settings) -> None:
        basic = ', Basic realm="astrarium"' if settings.auth_username else ""
        self._schemes = 'Bearer realm="astrarium"' + basic

    def missing(self) -> Unauthenticated:
        return Unauthenticated(
            NO_CREDENTIAL, code="auth.unauthorized", challenge=self._schemes,
            hint="send an API key or a token as `Authorization: Bearer …`; POST /api/v2/auth/login gives a token for a password",
        )  # fmt: skip

    def invalid(
        self, why: str = "it is not known here, or not any more", *, credential: str = "token", expired: bool = False
    ) -> Unauthenticated:
        """`credential`: `key` or `token`; what it is and whether it was valid once are told in `details`, for clients act on it."""
        return Unauthenticated(
            f"the credential is not valid: {why}", code="auth.token_invalid", challenge=self._schemes,
            details={"credential": credential, "expired": expired},
        )  # fmt: skip
