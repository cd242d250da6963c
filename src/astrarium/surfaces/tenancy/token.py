"""The server's own secrets, and what is made with them: keyed hashes of keys and tokens, and signed session tokens.

Everything derives from the master secrets in `keys/master.key` of the data folder (0600, one secret a line, the newest last), or from
the setting `master_key` (the newest first, separated by commas). What an older one made stays valid as long as it is listed: each
hash and token names its secret by a key id.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import Invalid, Problem, Unavailable
from ...lazy import library

if TYPE_CHECKING:
    import jwt
    from cryptography import exceptions
    from cryptography.hazmat.primitives.ciphers import aead
else:
    jwt = library("jwt")
    exceptions = library("cryptography.exceptions")
    aead = library("cryptography.hazmat.primitives.ciphers.aead")

FILE = "master.key"
LEAST_LENGTH = 32
ALGORITHM = "HS256"
AUDIENCE = "astrarium"
_HEX = re.compile(r"[0-9a-f]{8}-")
NONCE = 12
KEY_SECRET = 24
"""Random bytes of a key: 32 characters."""


class Session(msgspec.Struct, frozen=True):
    """What a session token says: whose it is, in which workspace, for which count of that user's sessions (a changed password raises
    it, which ends all older ones), when it ends (microseconds UTC), and which it is."""

    user: str
    workspace: str
    turn: int
    until: int
    id: str = ""


class _Secret:
    """One master secret and what derives from it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.id = hashlib.blake2b(text.encode(), digest_size=4, person=b"key id").hexdigest()
        self.session = self._derive(b"session")
        self.seal = self._derive(b"seal")
        self.hiding = self._derive(b"hide")

    def _derive(self, purpose: bytes) -> bytes:
        return hashlib.blake2b(self.text.encode(), digest_size=32, person=purpose).digest()


class KeyRing:
    """The secrets of a server, the present one first."""

    def __init__(self, texts: list[str]) -> None:
        self._secrets = {made.id: made for made in map(_Secret, texts)}
        self._present = next(iter(self._secrets.values()))

    @property
    def present(self) -> str:
        """The id of the secret new things are made with."""
        return self._present.id

    # -- keys and tokens that are looked up -----------------------------------------------------------------------------

    def seal(self, text: str) -> str:
        """What is stored of a random key: a keyed hash, with the id of the secret. The key has 192 bits, so it needs no slow hash."""
        return f"{self._present.id}:{_keyed(self._present, text)}"

    def opens(self, verifier: str, text: str) -> bool:
        """Whether `verifier` was made of this text, compared in constant time."""
        id_, _, digest = verifier.partition(":")
        secret = self._secrets.get(id_)
        return secret is not None and hmac.compare_digest(digest, _keyed(secret, text))

    def hide(self, data: bytes) -> str:
        """A secret as it may be kept in the store: AES-256-GCM, with the id of our secret."""
        nonce = secrets.token_bytes(NONCE)
        sealed = nonce + aead.AESGCM(self._present.hiding).encrypt(nonce, data, None)
        return f"{self._present.id}:{base64.b64encode(sealed).decode()}"

    def reveal(self, hidden: str) -> bytes | None:
        """What `hide` was given; None when it was hidden with a secret that is not listed any more, or was changed."""
        id_, _, text = hidden.partition(":")
        secret = self._secrets.get(id_)
        sealed = base64.b64decode(text)
        try:
            return aead.AESGCM(secret.hiding).decrypt(sealed[:NONCE], sealed[NONCE:], None) if secret is not None else None
        except exceptions.InvalidTag:
            return None

    # -- what we hand out and are shown again ---------------------------------------------------------------------------

    def stamp(self, purpose: str, said: dict[str, Any], until: int) -> str:
        """A signed text that says `said` until then (microseconds UTC), for one purpose."""
        claims = {"said": said, "aud": f"{AUDIENCE}/{purpose}", "exp": until // 1_000_000}
        return jwt.encode(claims, self._present.session, ALGORITHM, headers={"kid": self._present.id})

    def read_stamp(self, purpose: str, text: str, now: int) -> dict[str, Any] | None:
        """What a stamp says; None when it is not ours, for another purpose, or over."""
        claims = self._claims(text, f"{AUDIENCE}/{purpose}")
        return dict(claims["said"]) if claims is not None and int(claims["exp"]) * 1_000_000 > now else None

    def _claims(self, token: str, audience: str) -> dict[str, Any] | None:
        """What a token says that we signed; whether it is over is for the caller to see."""
        try:
            secret = self._secrets.get(str(jwt.get_unverified_header(token).get("kid")))
            if secret is None:
                return None
            return jwt.decode(
                token, secret.session, [ALGORITHM], audience=audience,
                options={"require": ["exp", "aud"], "verify_exp": False, "verify_iat": False},
            )  # fmt: skip
        except jwt.InvalidTokenError:
            return None

    # -- sessions -------------------------------------------------------------------------------------------------------

    def sign(self, session: Session, now: int) -> str:
        claims = {
            "sub": session.user, "workspace_id": session.workspace, "turn": session.turn, "aud": AUDIENCE,
            "iat": now // 1_000_000, "exp": session.until // 1_000_000, "jti": session.id,
        }  # fmt: skip
        return jwt.encode(claims, self._present.session, ALGORITHM, headers={"kid": self._present.id})

    def read(self, token: str) -> Session | None:
        """What a session token says; None when we did not sign it. Whether it has ended is for the caller to see."""
        claims = self._claims(token, AUDIENCE)
        try:
            if claims is None:
                return None
            until = int(claims["exp"]) * 1_000_000
            return Session(str(claims["sub"]), str(claims["workspace_id"]), int(claims["turn"]), until, str(claims["jti"]))
        except (KeyError, ValueError, TypeError):
            return None


def _keyed(secret: _Secret, text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=secret.seal, digest_size=32).hexdigest()


def open_ring(folder: Path, setting: str) -> KeyRing:
    """The key ring of a data folder (`folder` is its `keys`), made at the first start; or the one of the setting. Raises `Invalid` for
    a secret that is too short, `Unavailable` when the file cannot be read or made."""
    path = folder / FILE
    try:
        texts = [part.strip() for part in setting.split(",")] if setting else _read(path)
    except OSError as error:
        hint = "the user the server runs as must own it"
        raise Unavailable(f"the server's keys in {path} cannot be used: {error.strerror or error}", hint=hint) from error
    if not texts or min(map(len, texts)) < LEAST_LENGTH:
        where = "master_key" if setting else str(path)
        problem = Problem(f"each secret must have at least {LEAST_LENGTH} characters", path="master_key", file=where)
        raise Invalid(f"{where}: {problem.message}", [problem], code="bad_settings")
    return KeyRing(texts)


def _read(path: Path) -> list[str]:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, [secrets.token_urlsafe(48)], fresh=True)
    return [line.strip() for line in path.read_text(encoding="ascii").splitlines() if line.strip()][::-1]


def rotate(folder: Path) -> None:
    """Add a new secret to the file; what older ones made stays valid until their lines are taken out."""
    path = folder / FILE
    _write(path, [*(_read(path)[::-1]), secrets.token_urlsafe(48)], fresh=False)


def _write(path: Path, lines: list[str], *, fresh: bool) -> None:
    """Write whole or not at all; a `fresh` file that another process made meanwhile is left as it is."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
        part.unlink()
    else:
        part.replace(path)


# -- what users are given ------------------------------------------------------------------------------------------------


def new_key(workspace: str, environment: str) -> str:
    """A fresh API key: `sk_`, six hex digits that tell the environment, 32 random characters."""
    mark = environment[:6]
    if not _HEX.match(environment):  # an environment that has a name and no UUID, as the one of the machine's owner
        mark = hashlib.sha256(f"{workspace}/{environment}".encode()).hexdigest()[:6]
    return f"sk_{mark}_{secrets.token_urlsafe(KEY_SECRET)}"


def new_password() -> str:
    """A password for once: 20 characters."""
    return secrets.token_urlsafe(15)
