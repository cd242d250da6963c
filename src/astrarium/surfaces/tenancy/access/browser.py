"""The browser's sign-in at the OIDC provider: authorization code with PKCE (S256), `state` and `nonce`.

What is to be compared on the way back goes along in a signed cookie of that browser, so any server of the database can take it up, and a
code somebody else obtained is of no use in it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from ....config import Settings
from ....errors import AstrariumError, Invalid, NotFound, Problem, Unauthenticated
from ....kernel.engine import Engine
from ..audit.refusal import Refusals
from ..identity import Identity
from ..token import KeyRing
from .newcomer import Newcomers
from .provider import Person, Provider, person_of_claims

PURPOSE = "sign-in"
UNDER_WAY_S = 600
"""How long signing in at the provider may take."""
MICROS = 1_000_000
SCOPE = "openid profile email"


class UnderWay(msgspec.Struct, frozen=True):
    """A sign-in that was begun: what the way back is compared with, and where it leads."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    next: str


class Browser:
    """The two halves of a sign-in. `provider` is None on a server without one."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        ring: KeyRing,
        identity: Identity,
        newcomers: Newcomers,
        provider: Provider | None,
        refusals: Refusals,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._ring = ring
        self._identity = identity
        self._newcomers = newcomers
        self._provider = provider
        self._refusals = refusals

    def _at(self) -> Provider:
        if self._provider is None:
            raise NotFound("this server has no OIDC provider to sign in at", hint="start it with --auth oidc")
        return self._provider

    async def begin(self, redirect_uri: str, next_path: str) -> tuple[str, str]:
        """Where to send the browser, and the cookie it keeps meanwhile. Raises `Invalid`, `NotFound`, `Unavailable`."""
        provider = self._at()
        ends = await provider.ends()
        way = UnderWay(
            secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), redirect_uri, checked(next_path)
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(way.verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code", "client_id": self._settings.oidc_client_id, "redirect_uri": redirect_uri, "scope": SCOPE,
            "state": way.state, "nonce": way.nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        end = outside(ends.authorization_endpoint, self._settings)
        cookie = self._ring.stamp(PURPOSE, msgspec.to_builtins(way), self._engine.clock.now() + UNDER_WAY_S * MICROS)
        return f"{end}{'&' if '?' in end else '?'}{urlencode(query)}", cookie

    async def finish(self, query: Mapping[str, str], cookie: str, address: str = "") -> tuple[str, int, str]:
        """A session token, when it ends (microseconds UTC), and where the browser goes. Refusals are recorded. Raises
        `Unauthenticated`, `Unavailable`, and what `Newcomers.admit` raises."""
        provider = self._at()
        try:
            way = self._way(query, cookie, provider)
            person = await self._person(provider, query.get("code", ""), way)
            entry = await self._newcomers.admit(person)
        except AstrariumError as error:
            await self._refusals.failed("way:oidc", address, why=error.message[:200])
            raise
        token, until = await self._identity.begin_session(entry, "oidc")
        return token, until, way.next

    def _way(self, query: Mapping[str, str], cookie: str, provider: Provider) -> UnderWay:
        said = self._ring.read_stamp(PURPOSE, cookie, self._engine.clock.now())
        if said is None:
            raise failed("this browser did not begin it, or it took too long")
        way = msgspec.convert(said, UnderWay)
        if not hmac.compare_digest(way.state.encode(), query.get("state", "").encode("utf-8", "surrogatepass")):
            raise failed("the way back does not belong to the way there (state)")
        if query.get("iss", provider.issuers[0]) not in provider.issuers:
            raise failed("another provider answered")
        if query.get("error"):
            raise failed(f"the provider refused: {(query.get('error_description') or query['error'])[:200]}")
        return way

    async def _person(self, provider: Provider, code: str, way: UnderWay) -> Person:
        tokens = await provider.redeem(code, way.redirect_uri, way.verifier)
        person = await provider.read(tokens["id_token"])
        claims = person.claims
        audiences = claims["aud"] if isinstance(claims.get("aud"), list) else [claims.get("aud")]
        client = self._settings.oidc_client_id
        if client not in audiences or claims.get("azp", client) != client:
            raise failed("the id token is for another client")
        if not hmac.compare_digest(way.nonce, str(claims.get("nonce", ""))):
            raise failed("the id token belongs to another sign-in (nonce)")
        access = tokens.get("access_token")
        if not person.email and isinstance(access, str):
            more = dict(await provider.told_more(access))
            if more.get("sub") == person.subject:
                person = person_of_claims(person.subject, {**claims, **more}, person.until)
        return person


def checked(path: str) -> str:
    """Where the browser goes after signing in: a path of this server. Raises `Invalid`."""
    path = path or "/"
    if not path.startswith("/") or path[:2] in ("//", "/\\") or not path.isprintable():
        problem = Problem("must be a path on this server, as /ui", path="query.next")
        raise Invalid(f"next {problem.message}", [problem])
    return path


def outside(url: str, settings: Settings) -> str:
    """An end of the provider as browsers reach it."""
    inner, outer = settings.oidc_issuer.rstrip("/"), settings.oidc_external_issuer.rstrip("/")
    return outer + url.removeprefix(inner) if outer and url.startswith(inner) else url


def failed(why: str) -> Unauthenticated:
    return Unauthenticated(f"signing in failed: {why}", code="auth.unauthorized", hint="begin again")
