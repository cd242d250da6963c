"""The OIDC provider people sign in at: where its ends are, its keys, and what its tokens say.

Its keys are kept for a while and asked for anew when a token names one that is not among them, so that a rotation at the provider is
survived; not more often than every few seconds, so that a stranger's tokens cannot make us hammer it. While it cannot be reached, the
keys we have stay good.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from ....config import Settings
from ....errors import Forbidden, Unauthenticated, Unavailable
from ....kernel.clock import Clock
from ....lazy import library
from ....web.egress import Egress

if TYPE_CHECKING:
    import httpx2
    import jwt
else:
    httpx2 = library("httpx2")
    jwt = library("jwt")

log = logging.getLogger("astrarium.tenancy")
ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""Never `none`, and none with a shared secret: the provider's public key would be one."""
TIMEOUT_S = 10.0
MAX_BYTES = 1 << 20
"""Most of an answer of the provider we read."""
PAUSE_US = 10_000_000
"""Between two looks at the provider's keys because of tokens that name unknown ones, and after it could not be reached."""
DISCOVERY = "/.well-known/openid-configuration"
MICROS = 1_000_000
SUBJECT_MAX = 255


class Ends(msgspec.Struct, frozen=True):
    """The provider's discovery document, as far as we use it."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""


class Person(msgspec.Struct, frozen=True):
    """What a token says about who it is for. `until`: microseconds UTC. `email_verified` is false only when the provider says so."""

    subject: str
    email: str
    email_verified: bool
    name: str
    until: int
    claims: dict[str, Any]


class Provider:
    """`close` ends its connections."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._ttl_us = settings.oidc_jwks_ttl_s * MICROS
        self._client: httpx2.AsyncClient | None = None
        self._lock = asyncio.Lock()
        self._ends: Ends | None = None
        self._keys: dict[str, dict[str, Any]] = {}
        self._read_at = 0
        self._missed_at = self._failed_at = -PAUSE_US

    @property
    def issuers(self) -> tuple[str, ...]:
        """The names by which its tokens may call it: with and without a slash at the end providers differ."""
        given = (self._settings.oidc_issuer, self._settings.oidc_external_issuer)
        return tuple(name for one in given if one for name in (one.rstrip("/"), one.rstrip("/") + "/"))

    @property
    def external(self) -> str:
        """Its address for browsers and command lines."""
        return self._settings.oidc_external_issuer or self._settings.oidc_issuer

    @property
    def audiences(self) -> frozenset[str]:
        given = self._settings.oidc_audience or f"{self._settings.oidc_client_id},{self._settings.oidc_sdk_client_id}"
        return frozenset(part.strip() for part in given.split(",") if part.strip())

    # -- asking it ------------------------------------------------------------------------------------------------------

    async def _ask(self, method: str, url: str, **more: Any) -> Any:
        """The JSON of its answer, of 200 or an OAuth error. Raises `Unavailable`."""
        if self._client is None:
            self._client = Egress(self._settings.egress_allow).open_client(TIMEOUT_S)
        try:
            async with self._client.stream(method, url, **more) as answer:
                data = b""
                async for part in answer.aiter_bytes():
                    data += part
                    if len(data) > MAX_BYTES:
                        raise Unavailable(f"the identity provider's answer at {url} is too long")
                if answer.status_code not in (200, 400, 401, 403):
                    raise Unavailable(f"the identity provider answered {answer.status_code} at {url}")
            return msgspec.json.decode(data)
        except Forbidden as error:
            raise Unavailable(f"the identity provider cannot be asked: {error.message}", hint=error.hint) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, msgspec.DecodeError) as error:
            told = f"the identity provider cannot be asked at {url}: {str(error) or type(error).__name__}"
            raise Unavailable(told, hint="see whether it runs, and whether oidc_issuer is right") from error

    async def ends(self) -> Ends:
        """Where its ends are. Raises `Unavailable`."""
        async with self._lock:
            now = self._clock.now()
            if self._ends is None and now < self._failed_at + PAUSE_US:
                raise _resting()
            try:
                return await self._discover()
            except Unavailable:
                self._failed_at = now
                raise

    async def _discover(self) -> Ends:
        if self._ends is None:
            url = self._settings.oidc_issuer.rstrip("/") + DISCOVERY
            try:
                found = msgspec.convert(await self._ask("GET", url), Ends)
            except msgspec.ValidationError as error:
                raise Unavailable(f"{url} is no discovery document: {error}", hint="see whether oidc_issuer is right") from error
            if found.issuer not in self.issuers:
                told = f"the identity provider calls itself {found.issuer!r}, oidc_issuer says {self._settings.oidc_issuer!r}"
                raise Unavailable(told, hint="write oidc_issuer as the provider does; oidc_external_issuer may name it otherwise")
            self._ends = found
        return self._ends

    async def _read_keys(self) -> None:
        """Read the provider's keys. What cannot be read leaves those we have, where we have some. Raises `Unavailable` else."""
        now = self._clock.now()
        try:
            url = self._settings.oidc_jwks_url or (await self._discover()).jwks_uri
            found = await self._ask("GET", url)
            keys = found.get("keys") if isinstance(found, dict) else None
            if not isinstance(keys, list):
                raise Unavailable(f"{url} is no set of keys")
        except Unavailable as error:
            self._ends, self._failed_at = None, now
            if not self._keys:
                raise
            log.warning("the identity provider's keys could not be read again: %s", error.message)
            return
        self._keys = {str(key.get("kid", "")): key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"}
        self._read_at = now

    async def _key(self, kid: str) -> dict[str, Any] | None:
        """The provider's key of this id; a token without one means the only key there is. Raises `Unavailable`."""
        now = self._clock.now()
        if not self._is_fresh(now) and not (self._find(kid) and self._lock.locked()):
            async with self._lock:
                if not self._is_fresh(now) and now >= self._failed_at + PAUSE_US:
                    await self._read_keys()
        if self._find(kid) is None and self._read_at < now:
            async with self._lock:
                if self._find(kid) is None and now >= max(self._missed_at, self._failed_at) + PAUSE_US:
                    self._missed_at = now
                    await self._read_keys()
        if not self._keys:
            raise _resting()
        return self._find(kid)

    def _is_fresh(self, now: int) -> bool:
        return bool(self._keys) and now - self._read_at < self._ttl_us

    def _find(self, kid: str) -> dict[str, Any] | None:
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    # -- its tokens -----------------------------------------------------------------------------------------------------

    async def read(self, token: str) -> Person:
        """What one of its access or id tokens says. Raises `Unauthenticated`, and `Unavailable` when it must be asked and cannot be."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise _wrong("it is no token") from None
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if algorithm not in ALGORITHMS or not isinstance(kid, str):
            raise _wrong(f"tokens signed with {str(algorithm)[:20]} are not taken")
        key = await self._key(kid)
        if key is None or key.get("alg", algorithm) != algorithm:
            raise _wrong(f"Unable to find key with ID: {kid[:80]}")
        try:
            claims = jwt.decode(
                token, jwt.PyJWK(key, algorithm), [algorithm],
                options={"verify_aud": False, "verify_iss": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            raise _wrong("its signature is wrong") from None
        return self._check(claims)

    def _check(self, claims: dict[str, Any]) -> Person:
        now, leeway = self._clock.now(), self._settings.oidc_leeway_s * MICROS
        if claims.get("iss") not in self.issuers:
            raise _wrong("another provider made it (Invalid issuer)")
        given = claims.get("aud") or [claims.get("azp") or claims.get("client_id")]
        audiences = [given] if isinstance(given, str) else given
        if not isinstance(audiences, list) or not any(isinstance(one, str) and one in self.audiences for one in audiences):
            raise _wrong("it is for somebody else (Audience doesn't match)")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX:
            raise _wrong("it names nobody")
        until = _moment(claims, "exp")
        if until is None:
            raise _wrong("it has no end")
        if until + leeway <= now:
            raise _wrong("Signature has expired", expired=True)
        for name in ("nbf", "iat"):
            since = _moment(claims, name) if name in claims else 0
            if since is None or since - leeway > now:
                raise _wrong("it is not good yet; compare the clocks")
        return person_of_claims(subject, claims, until + leeway)

    # -- the code flow --------------------------------------------------------------------------------------------------

    async def redeem(self, code: str, redirect_uri: str, verifier: str) -> dict[str, Any]:
        """The tokens for a code. Raises `Unauthenticated` when it gives none, `Unavailable`."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
        client, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret
        headers = {"accept": "application/json"}
        if secret:
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}".encode()
            headers["authorization"] = "Basic " + base64.b64encode(pair).decode()
        else:
            form["client_id"] = client
        found = await self._ask("POST", (await self.ends()).token_endpoint, data=form, headers=headers)
        if not isinstance(found, dict) or not isinstance(found.get("id_token"), str):
            told = found.get("error_description") or found.get("error") if isinstance(found, dict) else ""
            raise _wrong(f"the provider gave no token for the sign-in: {str(told or 'no id_token')[:200]}")
        return found

    async def told_more(self, access_token: str) -> Mapping[str, Any]:
        """What the provider tells about who an access token is for; nothing where it has no end for that. Raises `Unavailable`."""
        url = (await self.ends()).userinfo_endpoint
        if not url:
            return {}
        found = await self._ask("GET", url, headers={"authorization": f"Bearer {access_token}"})
        return found if isinstance(found, dict) else {}

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def person_of_claims(subject: str, claims: dict[str, Any], until: int) -> Person:
    """Stardag: a person is called `name`, else given and family name, else preferred_username, else the local part of the address, else
    by their id."""
    text = {
        name: str(claims.get(name) or "").strip() for name in ("email", "name", "given_name", "family_name", "preferred_username")
    }
    whole = f"{text['given_name']} {text['family_name']}".strip()
    name = text["name"] or whole or text["preferred_username"] or text["email"].partition("@")[0] or subject
    verified = str(claims.get("email_verified", True)).lower() != "false"
    return Person(subject, text["email"], verified, name, until, claims)


def _moment(claims: dict[str, Any], name: str) -> int | None:
    """A time among claims, in microseconds; None for what is none."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        return None
    return int(value * MICROS)


def _resting() -> Unavailable:
    return Unavailable("the identity provider could not be asked just now", hint="try again in some seconds")


def _wrong(why: str, *, expired: bool = False) -> Unauthenticated:
    return Unauthenticated(why, code="auth.token_invalid", details={"credential": "token", "expired": expired})
