"""Whether a pack is what a trusted key signed: an EdDSA JWT beside its files. Stargraph 0.8: contract 1.6.

Pure: files and what is trusted are handed in. With trust on first use the caller keeps the record this gives back.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, get_args

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from .manifest import KEY_SUFFIX, SIDECAR, Algorithm, tree_hash

Reason = Literal[
    "header-unparseable", "x5c-rejected", "alg-not-eddsa", "kid-missing", "untrusted-key", "sidecar-unreadable", "not-ed25519",
    "signature-invalid", "tree-hash-mismatch", "key-id-mismatch", "record-corrupt", "fingerprint-mismatch",
]  # fmt: skip

MAX_SIDECAR_BYTES = 64 * 1024


class Trusted(msgspec.Struct, frozen=True):
    """A key that was met before: `trusted_keys/<key_id>.json`. `fingerprint`: SHA-256 of the DER public key, hex."""

    key_id: str
    fingerprint: str
    first_seen: str


class Trust(msgspec.Struct, frozen=True):
    """What is believed. `keys`: fingerprint by key id of those that are allowed; `records`: raw text of what was kept on first use;
    `first_use`: an unknown key is trusted from now on."""

    keys: Mapping[str, str] = {}
    records: Mapping[str, bytes] = {}
    first_use: bool = False


class Judgement(msgspec.Struct, frozen=True):
    """`reason` empty = verified. `first_met`: a key to be kept by the caller, (key id, fingerprint)."""

    reason: Reason | Literal[""] = ""
    key_id: str = ""
    tree_hash: str = ""
    first_met: tuple[str, str] | None = None


class _Claims(msgspec.Struct):
    alg: str
    iat: int | float
    key_id: str
    tree_hash: str


def judge_pack(files: Mapping[str, bytes], trust: Trust, *, fips: bool = False) -> Judgement:
    """Verify the signature of a pack given as bytes by relative path. `fips`: SHA-256 instead of BLAKE3."""
    sidecar = files.get(SIDECAR, b"")
    if not sidecar or len(sidecar) > MAX_SIDECAR_BYTES or not sidecar.isascii():
        return Judgement("sidecar-unreadable")
    token, jwt = sidecar.decode("ascii").strip(), _jwt()
    try:
        header: dict[str, Any] = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        return Judgement("header-unparseable")
    key_id = header.get("kid")
    if "x5c" in header:
        return Judgement("x5c-rejected")
    if header.get("alg") != "EdDSA":
        return Judgement("alg-not-eddsa")
    if not isinstance(key_id, str) or not key_id:
        return Judgement("kid-missing")
    return _judge_key(files, token, key_id, trust, "SHA-256" if fips else "BLAKE3")


def _judge_key(files: Mapping[str, bytes], token: str, key_id: str, trust: Trust, algorithm: Algorithm) -> Judgement:
    pem = files.get(f"{key_id}{KEY_SUFFIX}")
    if pem is None:
        return Judgement("sidecar-unreadable", key_id)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return Judgement("sidecar-unreadable", key_id)
    if not isinstance(key, Ed25519PublicKey):
        return Judgement("not-ed25519", key_id)
    print_ = fingerprint(key)
    reason = _distrust(key_id, print_, trust)
    if reason:
        return Judgement(reason, key_id)
    jwt = _jwt()
    try:
        payload = jwt.decode(token, key, algorithms=["EdDSA"], options={"verify_aud": False, "verify_iat": False})
        claims = msgspec.convert(payload, _Claims)
    except (jwt.InvalidTokenError, msgspec.ValidationError):
        return Judgement("signature-invalid", key_id)
    if claims.key_id != key_id:
        return Judgement("key-id-mismatch", key_id)
    return _judge_tree(files, claims, key_id, algorithm, _new_to(key_id, print_, trust))


def _judge_tree(
    files: Mapping[str, bytes], claims: _Claims, key_id: str, algorithm: Algorithm, first_met: tuple[str, str] | None
) -> Judgement:
    actual = tree_hash(files, algorithm)
    known = claims.alg in get_args(Algorithm) and claims.alg == algorithm
    if not known or not hmac.compare_digest(actual.encode(), claims.tree_hash.encode()):
        return Judgement("tree-hash-mismatch", key_id, actual)
    return Judgement("", key_id, actual, first_met)


def sign_pack(files: Mapping[str, bytes], key: Ed25519PrivateKey, key_id: str, at: int, *, fips: bool = False) -> dict[str, bytes]:
    """The files that make a pack a signed one: the signature and the public key. `at`: Unix time, in seconds."""
    algorithm: Algorithm = "SHA-256" if fips else "BLAKE3"
    payload = {"alg": algorithm, "iat": at, "key_id": key_id, "tree_hash": tree_hash(files, algorithm)}
    token: str = _jwt().encode(payload, key, algorithm="EdDSA", headers={"kid": key_id})
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {SIDECAR: token.encode() + b"\n", f"{key_id}{KEY_SUFFIX}": pem}


def _jwt() -> Any:
    """Loaded when a signature is looked at: most graphs mount no pack that has one."""
    return import_module("jwt")


def fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _distrust(key_id: str, print_: str, trust: Trust) -> Reason | Literal[""]:
    allowed = trust.keys.get(key_id)
    if allowed is not None:
        return "" if hmac.compare_digest(allowed.encode(), print_.encode()) else "fingerprint-mismatch"
    record = trust.records.get(key_id)
    if record is None:
        return "" if trust.first_use else "untrusted-key"
    try:
        known = msgspec.json.decode(record, type=Trusted)
    except msgspec.DecodeError:
        return "record-corrupt"
    if known.key_id != key_id:
        return "record-corrupt"
    return "" if hmac.compare_digest(known.fingerprint.encode(), print_.encode()) else "fingerprint-mismatch"


def _new_to(key_id: str, print_: str, trust: Trust) -> tuple[str, str] | None:
    return None if key_id in trust.keys or key_id in trust.records else (key_id, print_)
