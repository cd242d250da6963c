"""The keys our tokens for workspaces are signed with: RSA 2048, RS256. Whoever is given such a token verifies it by the public keys at
`/.well-known/jwks.json`.

Keys are entries, so all servers on one database have the same; the private part is hidden with the server's own secret. The newest
signs. One that was replaced stays published until the last token it signed is over. The first one is made when it is needed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from ....errors import Refused, Unavailable
from ....kernel.audit import act
from ....kernel.engine import Engine
from ....kernel.machine import Registry
from ....kernel.record.entry import DropEntry, Entry, PutEntry, entry_stream, list_entries
from ....kernel.types import Actor, Command
from ....lazy import library
from ....web.caller import PERSONAL
from ..token import KeyRing
from ..workspace.body import DIRECTORY
from .at_hand import AtHand

if TYPE_CHECKING:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
else:
    jwt = library("jwt")
    serialization = library("cryptography.hazmat.primitives.serialization")
    rsa = library("cryptography.hazmat.primitives.asymmetric.rsa")

SIGNER = "signing_key"
ALGORITHM = "RS256"
BITS, EXPONENT = 2048, 65537
TOKEN_S = 600
"""How long a token for a workspace is good."""
SPARE_S = 60
"""How much longer than its tokens a replaced key stays published: for clocks that differ."""
MICROS = 1_000_000
ENGINE_ACTOR = Actor("engine", "")
TRIES = 5


class SignerBody(msgspec.Struct, frozen=True):
    """The entry's id is the `kid`, its name the number. `n` is the public modulus, as JWKs write it; `hidden` the private key, PKCS 8."""

    n: str
    hidden: str


class Signer(msgspec.Struct, frozen=True):
    """One key. `private` is None when it was hidden with a secret this server does not have."""

    kid: str
    number: int
    made_at: int
    n: str
    public: Any
    private: Any


class Signers:
    """The keys of this database, newest last."""

    def __init__(self, engine: Engine, ring: KeyRing, registry: Registry) -> None:
        self._engine = engine
        self._ring = ring
        self._parsed: dict[str, Signer] = {}
        self._known: AtHand[list[Signer]] = AtHand(self._look_up, engine)
        self._known.rests_on(registry, SIGNER)

    async def _look_up(self, _: str) -> list[Signer]:
        found = await list_entries(self._engine.store, DIRECTORY.workspace, SIGNER)
        self._parsed = {entry.id: self._parsed.get(entry.id) or self._parse(entry) for entry in found}
        return sorted(self._parsed.values(), key=lambda signer: signer.number)

    def _parse(self, entry: Entry) -> Signer:
        body = msgspec.convert(entry.body, SignerBody)
        public = rsa.RSAPublicNumbers(EXPONENT, int.from_bytes(_unbase64(body.n))).public_key()
        data = self._ring.reveal(body.hidden)
        private = None
        if data is not None:
            private = serialization.load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True)
        return Signer(entry.id, int(entry.name), entry.created_at, body.n, public, private)

    async def _all(self) -> list[Signer]:
        return await self._known.get("") or []

    async def _published(self) -> list[Signer]:
        """The newest, and those whose tokens may still be about."""
        every, now = await self._all(), self._engine.clock.now()
        over = now - (TOKEN_S + SPARE_S) * MICROS
        return [one for one, after in pairwise([*every, None]) if one and (after is None or after.made_at > over)]

    async def jwks(self) -> list[dict[str, str]]:
        """The public keys; at least one."""
        await self._present()
        return [
            {"kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": one.kid, "n": one.n, "e": "AQAB"}
            for one in await self._published()
        ]

    async def _present(self) -> Signer:
        """The key that signs. Raises `Unavailable`."""
        for _ in range(TRIES):
            every = await self._all()
            if every and every[-1].private is not None:
                return every[-1]
            await self.rotate(ENGINE_ACTOR)
        raise Unavailable("the server's signing keys cannot be used", hint="servers on one database need the same master_key")

    async def sign(self, claims: dict[str, Any]) -> str:
        """A token that says so. Raises `Unavailable`."""
        signer = await self._present()
        return jwt.encode(claims, signer.private, ALGORITHM, headers={"kid": signer.kid})

    async def read(self, token: str, kid: str, issuer: str, audience: str) -> dict[str, Any] | None:
        """What a token says that one of our keys signed, None when none did. Whether it is over is for the caller to see."""
        signer = next((one for one in await self._published() if one.kid == kid), None)
        if signer is None:
            return None
        try:
            return jwt.decode(
                token, signer.public, [ALGORITHM], audience=audience, issuer=issuer,
                options={"require": ["exp", "sub", "aud", "iss"], "verify_exp": False, "verify_iat": False},
            )  # fmt: skip
        except jwt.InvalidTokenError:
            return None

    async def rotate(self, actor: Actor) -> str:
        """Make a new key, which signs from now on; its `kid`. Keys that are not needed any more end. When another server makes one at
        the same time, that one is it. Raises `Unavailable`."""
        every, kept = await self._all(), {one.kid for one in await self._published()}
        kid, body = await asyncio.to_thread(self._generate)
        number = str(every[-1].number + 1 if every else 1)
        order = PutEntry(number, msgspec.to_builtins(body), str(actor), expect=0)
        commands = [Command(entry_stream(SIGNER, kid), order, DIRECTORY, actor)]
        for old in every:
            if old.kid not in kept:
                commands.append(Command(entry_stream(SIGNER, old.kid), DropEntry(str(actor)), DIRECTORY, actor))
        commands.append(act(PERSONAL, actor, "signing_key.created", f"{SIGNER}:{kid}"))
        try:
            await self._engine.submit_all(commands)
        except Refused:
            self._known.forget()
            kid = (await self._all())[-1].kid
        return kid

    def _generate(self) -> tuple[str, SignerBody]:
        key = rsa.generate_private_key(EXPONENT, BITS)
        plain = serialization.NoEncryption()
        data = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, plain)
        public = key.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        modulus = public.public_numbers().n.to_bytes(BITS // 8)
        n = base64.urlsafe_b64encode(modulus).decode().rstrip("=")
        return hashlib.sha256(der).hexdigest()[:16], SignerBody(n, self._ring.hide(data))


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
