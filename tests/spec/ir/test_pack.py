"""Governance packs: manifests, every reason why a signature does not hold, and what packs demand."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import blake3
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from astrarium.errors import Invalid
from astrarium.spec.ir.document import Requires
from astrarium.spec.ir.pack.manifest import read_manifest, tree_hash, unfit
from astrarium.spec.ir.pack.policy import (
    AUDIT,
    BUDGETS,
    REFERENCE,
    RETRIES,
    SAFETY_PII,
    Pack,
    Policy,
    built_in,
    find_violations,
    policy_of,
    retry_delay_s,
)
from astrarium.spec.ir.pack.signature import Judgement, Trust, Trusted, fingerprint, judge_pack

KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
PRINT = fingerprint(KEY.public_key())
FILES = {"manifest.yaml": b"id: acme\nversion: '1'\n", "rules.clp": b"(defrule x => )", "k1.pub.pem": b""}


def _pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _signed(headers: dict[str, Any] | None = None, key: Any = KEY, pem: bytes | None = None, **claims: Any) -> dict[str, bytes]:
    payload = {"alg": "BLAKE3", "iat": 1_700_000_000, "key_id": "k1", "tree_hash": tree_hash(FILES), **claims}
    token = jwt.encode(payload, key, algorithm="EdDSA", headers={"kid": "k1"} if headers is None else headers)
    return {**FILES, "k1.pub.pem": _pem(KEY) if pem is None else pem, "manifest.jwt": token.encode() + b"\n"}


def _header(**fields: Any) -> dict[str, bytes]:
    first = base64.urlsafe_b64encode(json.dumps({"typ": "JWT", **fields}).encode()).rstrip(b"=")
    return {**FILES, "k1.pub.pem": _pem(KEY), "manifest.jwt": first + b".e30.AAAA"}


ALLOWED = Trust({"k1": PRINT})


def _record(**fields: Any) -> Trust:
    return Trust(
        records={"k1": json.dumps({"key_id": "k1", "fingerprint": PRINT, "first_seen": "2026-01-01", **fields}).encode()}
    )


@pytest.mark.parametrize(
    ("files", "trust", "reason"),
    [
        (FILES, ALLOWED, "sidecar-unreadable"),
        ({**FILES, "manifest.jwt": b"\xff"}, ALLOWED, "sidecar-unreadable"),
        ({**FILES, "manifest.jwt": b"no token"}, ALLOWED, "header-unparseable"),
        (_header(alg="EdDSA", kid="k1", x5c=["..."]), ALLOWED, "x5c-rejected"),
        (_header(alg="none", kid="k1"), ALLOWED, "alg-not-eddsa"),
        (_header(alg="HS256", kid="k1"), ALLOWED, "alg-not-eddsa"),
        (_signed({}), ALLOWED, "kid-missing"),
        (_signed({"kid": "k9"}), ALLOWED, "sidecar-unreadable"),
        (_signed(pem=b"no key"), ALLOWED, "sidecar-unreadable"),
        (_signed(pem=_pem(generate_private_key(SECP256R1()))), ALLOWED, "not-ed25519"),
        (_signed(), Trust(), "untrusted-key"),
        (_signed(), Trust({"k1": "0" * 64}), "fingerprint-mismatch"),
        (_signed(), _record(fingerprint="0" * 64), "fingerprint-mismatch"),
        (_signed(), _record(key_id="k2"), "record-corrupt"),
        (_signed(), Trust(records={"k1": b"{"}), "record-corrupt"),
        (_signed(key=OTHER), ALLOWED, "signature-invalid"),
        (_signed(tree_hash=7), ALLOWED, "signature-invalid"),
        (_signed(key_id="k2"), ALLOWED, "key-id-mismatch"),
        ({**_signed(), "rules.clp": b"(defrule y => )"}, ALLOWED, "tree-hash-mismatch"),
        ({**_signed(), "more.txt": b""}, ALLOWED, "tree-hash-mismatch"),
        (_signed(alg="SHA-256"), ALLOWED, "tree-hash-mismatch"),
        (_signed(), ALLOWED, ""),
        (_signed(), _record(), ""),
    ],
)
def test_why_a_signature_does_not_hold(files: dict[str, bytes], trust: Trust, reason: str) -> None:
    assert judge_pack(files, trust).reason == reason


def test_a_key_is_trusted_from_its_first_use_on() -> None:
    judged = judge_pack(_signed(), Trust(first_use=True))
    assert judged == Judgement("", "k1", tree_hash(FILES), ("k1", PRINT))
    assert judge_pack(_signed(), ALLOWED).first_met is None
    assert Trusted("k1", PRINT, "2026-01-01").fingerprint == PRINT


def test_with_fips_the_tree_is_hashed_with_sha_256() -> None:
    files = _signed(alg="SHA-256", tree_hash=tree_hash(FILES, "SHA-256"))
    assert judge_pack(files, ALLOWED, fips=True).reason == ""
    assert judge_pack(files, ALLOWED).reason == "tree-hash-mismatch"


def test_the_hash_of_a_tree() -> None:
    data = b"a.txt\0" + (1).to_bytes(8, "big") + b"x" + b"b/c\0" + (0).to_bytes(8, "big")
    files = {"b/c": b"", "a.txt": b"x", "k.pub.pem": b"key", "manifest.jwt": b"token"}
    assert tree_hash(files) == blake3.blake3(data).hexdigest()
    assert tree_hash(files, "SHA-256") == hashlib.sha256(data).hexdigest()


def test_a_manifest_is_checked() -> None:
    text = "id: acme.rules\nversion: '1.2'\nrequires: {api_version: '1'}\nprovides: [acme.late]\n"
    manifest = read_manifest(text, "manifest.yaml")
    assert (manifest.id, manifest.requires.api_version, manifest.provides) == ("acme.rules", "1", ("acme.late",))
    with pytest.raises(Invalid) as caught:
        read_manifest("id: Acme\nversion: 1\nnope: 2\n", "manifest.yaml")
    assert [(one.path, one.line) for one in caught.value.problems] == [("/id", 1), ("/version", 2), ("/nope", 3)]
    with pytest.raises(Invalid, match="a manifest is a mapping"):
        read_manifest("[1]", "manifest.yaml")


def test_versions_must_be_equal() -> None:
    assert unfit(Requires(), "1.0", "1") == ""
    assert unfit(Requires("1.0", "1"), "1.0", "1") == ""
    assert unfit(Requires("1", ""), "1.0", "1") == "it needs facts version 1, this is 1.0"
    assert unfit(Requires("", "2"), "1.0", "1") == "it needs API version 2, this is 1"


def test_what_packs_demand() -> None:
    packs = tuple(pack for pack_id in REFERENCE if (pack := built_in(pack_id)))
    policy = policy_of(packs)
    assert [pack_id for pack_id, _ in policy.packs] == [BUDGETS, RETRIES, SAFETY_PII, AUDIT]
    assert (policy.budgets, policy.retry_limit, len(policy.audited)) == (True, 5, 7)
    assert len({pack.tree_hash for pack in packs}) == 4
    assert policy_of(()) == Policy()
    assert built_in("acme") is None
    assert policy_of((Pack(AUDIT, "2", "t"),)).audited == policy.audited


def test_retries_wait_longer_each_time() -> None:
    policy = policy_of((Pack(RETRIES, "1.0", ""),))
    assert [retry_delay_s(policy, attempt) for attempt in range(1, 7)] == [2, 4, 8, 16, 32, None]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("nothing here, order 4111", []),
        ("ssn 123-45-6789", ["ssn"]),
        ("4111 1111 1111 1111", ["card"]),
        ("4111 1111 1111 1112", []),
        ("write to a.b@example.org or (555) 123-4567", ["email", "phone"]),
        ("a@b.co and 4111-1111-1111-1111", ["card", "email"]),
    ],
)
def test_what_may_not_be_said(text: str, kinds: list[str]) -> None:
    found = find_violations(policy_of((Pack(SAFETY_PII, "1.0", ""),)), text)
    assert [one.kind for one in found] == kinds
    assert all(text not in one.reason for one in found)
    assert find_violations(Policy(), text) == []
