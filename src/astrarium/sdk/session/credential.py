"""Who a client is at a registry: an API key, somebody who signed in, or nobody.

Who signed in has an *identity token* (of the identity provider, or of the server's own sign-in), which is exchanged for an *access
token* of one workspace. Both are renewed here before they end, so that nobody has to sign in again in the middle of their work. One
process at a time does that: a refresh token may be good for one use.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ...config import ClientConfig
from ...config.home import CONFIG_FILE, AccessToken, Credential, Home
from ...config.profile import read_file
from ...errors import Invalid, Unauthenticated
from .refusal import authentication_failed

EARLY_S = 30.0
"""A token is renewed this long before it ends."""
UNTOLD_S = 60.0
"""How long a token is taken to be good that does not say so."""
EXCHANGE = "/api/v1/auth/exchange"
AGAIN = "sign in again with `astrarium auth login`"

Post = Callable[[str, Mapping[str, str], bytes | None, Mapping[str, str] | None], Any]
"""(url, headers, JSON body, form) → the decoded answer. Raises what was refused."""


class Tokens(msgspec.Struct, frozen=True):
    """What a token endpoint answers (RFC 6749, OpenID Connect)."""

    access_token: str
    id_token: str = ""
    refresh_token: str = ""
    expires_in: float | None = None

    @property
    def identity(self) -> str:
        """The token that says who it is: the access token where it is a JWT, else the id token (an opaque access token is only
        understood by the provider)."""
        return self.access_token if self.access_token.count(".") == 2 or not self.id_token else self.id_token

    def until(self, now: float) -> float:
        """When the identity token is to be renewed (seconds since 1970)."""
        end = claims_of(self.identity).get("exp")
        if self.identity == self.access_token and self.expires_in is not None:
            end = now + self.expires_in
        return (float(end) if isinstance(end, (int, float)) else now + UNTOLD_S) - EARLY_S


class Exchanged(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = 600.0


class Identity:
    """The one who calls, by what the configuration says. `headers` is asked before each call, `refused` after a 401."""

    def __init__(self, config: ClientConfig, post: Post) -> None:
        self._config = config
        self._home = Home(config.home)
        self._post = post
        self._lock = threading.RLock()
        self._identity = AccessToken("", 0.0)
        self._access: dict[str, AccessToken] = {}
        self._signed_in: bool | None = None

    @property
    def kind(self) -> str:
        """`key`, `user` or `nobody`."""
        if self._config.api_key:
            return "key"
        return "user" if self.is_signed_in() else "nobody"

    def is_signed_in(self) -> bool:
        """Whether there is a sign-in of the configured user at this registry that may be used."""
        if self._signed_in is None:
            self._signed_in = self._credential() is not None
        return self._signed_in

    def begin(self, token: str, expires_at: float) -> None:
        """Act with an identity token that was just got (`expires_at` in seconds since 1970), before it is kept anywhere."""
        self._identity = AccessToken(token, expires_at)
        self._signed_in = True

    def is_at_hand(self, workspace_id: str) -> bool:
        """Whether an access token of the workspace is in memory and good."""
        return bool(self._signed_in) and _good(self._access.get(workspace_id), "")

    def headers(self, workspace_id: str) -> dict[str, str]:
        """The headers by which the registry knows us: with an access token of the workspace, with the identity token when none is
        named. Raises `Unauthenticated` when what we have is not good any more."""
        if self._config.api_key:
            return {"X-API-Key": self._config.api_key}
        if not self.is_signed_in():
            return {}
        token = self.access_token(workspace_id) if workspace_id else self.identity_token()
        return {"Authorization": f"Bearer {token}"}

    def refused(self, workspace_id: str, headers: Mapping[str, str]) -> bool:
        """Get another token in place of the one in `headers`, which was refused: the server may have new keys. False when there is no
        other to be had, so that another try makes no sense."""
        credential = None if self._config.api_key else self._credential()
        if credential is None:
            return False
        if workspace_id:
            self.access_token(workspace_id, refused=headers.get("Authorization", "").removeprefix("Bearer "))
            return True
        with self._lock:
            self._identity = AccessToken("", 0.0)
        return bool(credential.refresh_token)

    def refresh(self, workspace_id: str) -> None:
        """Get a new access token of a workspace now, by a new identity token."""
        with self._lock:
            self._identity = AccessToken("", 0.0)
            known = self._kept(workspace_id)
            self.access_token(workspace_id, refused=known.access_token if known else "")

    def access_token(self, workspace_id: str, *, refused: str = "") -> str:
        """An access token of a workspace other than a refused one: at hand, got by another process, or new."""
        with self._lock:
            known = self._access.get(workspace_id)
            if not _good(known, refused):
                known = self._kept(workspace_id)
            if not _good(known, refused):
                with self._home.locked():
                    known = self._kept(workspace_id)
                    if not _good(known, refused):
                        known = self._exchange(workspace_id)
                        self._home.keep_access_token(self._config.key, self._config.user, workspace_id, known)
            assert known is not None
            self._access[workspace_id] = known
            return known.access_token

    def identity_token(self) -> str:
        """The token that says who we are, renewed when it has ended."""
        with self._lock:
            if self._identity.expires_at <= time.time():
                with self._home.locked():
                    self._identity = self._renew()
            return self._identity.access_token

    def _kept(self, workspace_id: str) -> AccessToken | None:
        return self._home.access_token(self._config.key, self._config.user, workspace_id)

    def _exchange(self, workspace_id: str) -> AccessToken:
        """A new access token; the home is locked. An identity token that was good a moment ago may be refused all the same, once."""
        at_hand = self._identity.expires_at > time.time()
        if not at_hand:
            self._identity = self._renew()
        try:
            return self._exchanged(workspace_id)
        except Unauthenticated:
            if not at_hand:
                raise
        self._identity = self._renew()
        return self._exchanged(workspace_id)

    def _exchanged(self, workspace_id: str) -> AccessToken:
        headers = {"Authorization": f"Bearer {self._identity.access_token}"}
        body = msgspec.json.encode({"workspace_id": workspace_id})
        answer = msgspec.convert(self._post(self._config.registry_url + EXCHANGE, headers, body, None), Exchanged)
        return AccessToken(answer.access_token, time.time() + answer.expires_in - EARLY_S)

    def _renew(self) -> AccessToken:
        """A new identity token; the home is locked. A refresh token that was replaced is kept before anything else happens."""
        credential = self._credential()
        if credential is None:
            raise authentication_failed(f"nobody is signed in at {self._config.registry_url}")
        if not credential.refresh_token:
            if credential.session_token and credential.session_expires_at > time.time():
                return AccessToken(credential.session_token, credential.session_expires_at)
            raise authentication_failed("the sign-in has ended", hint=AGAIN)
        form = {"grant_type": "refresh_token", "refresh_token": credential.refresh_token}
        if credential.client_id:
            form["client_id"] = credential.client_id
        try:
            answer = msgspec.convert(self._post(credential.token_endpoint, {}, None, form), Tokens)
        except Invalid as error:
            raise authentication_failed(f"the sign-in has ended ({error.message})", hint=AGAIN) from None
        if answer.refresh_token and answer.refresh_token != credential.refresh_token:
            replaced = msgspec.structs.replace(credential, refresh_token=answer.refresh_token)
            self._home.keep_credential(self._config.key, self._config.user, replaced)
        return AccessToken(answer.identity, answer.until(time.time()))

    def _credential(self) -> Credential | None:
        """The credential of the configured user. One that was given for another address is not used: a project's file may give a known
        name another meaning."""
        config = self._config
        if not config.user or not config.registry_url:
            return None
        found = self._home.credential(config.key, config.user)
        if found is None:
            return None
        if found.registry_url:
            return found if found.registry_url.rstrip("/") == config.registry_url else None
        files: tuple[Path, ...] = (self._home.config_file, self._home.foreign / CONFIG_FILE)
        known = (read_file(file, []).registries.get(config.registry, "") for file in files)
        return found if any(url.rstrip("/") == config.registry_url for url in known if url) else None


def _good(token: AccessToken | None, refused: str) -> bool:
    return token is not None and token.expires_at > time.time() and token.access_token != refused


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT says, its signature unchecked: that is for whom it is shown to. Empty for anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=dict[str, Any])
    except (ValueError, msgspec.DecodeError):
        return {}
