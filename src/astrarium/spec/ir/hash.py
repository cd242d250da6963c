"""Hashes by which graphs, forks and runtimes are told apart, over RFC 8785 canonical JSON.

The hash of a graph covers all that changes what a run does: the whole document, the code of its nodes, its state, its packs, its
child graphs. A key that has its default does not count, so that keys to come change no older hash. What only says where to run it
or how to draw it is left out. Stargraph 0.8: contract 1.2, 5.2 (normative).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785

from .document import Document, as_ir

_EXACT = 2**53 - 1
"""Larger whole numbers are no JSON numbers to every reader; they are hashed as texts."""
_LEFT_OUT = ("lm", "checkpoints", "concurrency_limit", "migrate")
"""Where it runs, how many at once, and which older hashes it stands in for (they could not name their own)."""
_FORK_TAG = b"stargraph-cf-v1"


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of JSON data: sorted keys, shortest numbers. Raises `ValueError` for what is no JSON (NaN, bytes)."""
    try:
        return rfc8785.dumps(_exact(value))
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from error


def _exact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _exact(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        return str(value)
    return value


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits: of an answer, a patch, a mutation."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def document_hash(
    document: Document, *, state: Any, code: Mapping[str, str], children: Mapping[str, str], packs: Sequence[str]
) -> str:
    """The `graph_hash` of a document. `state`: the schema of its state; `code`: fingerprint of the implementation by node id;
    `children`: hash of the child graph by node id; `packs`: `id@version#tree_hash` of each mounted pack, in order."""
    plain = as_ir(document)
    for name in _LEFT_OUT:
        plain.pop(name, None)
    for rule in plain.get("rules", ()):
        rule.pop("node_id", None)
    for node in plain["nodes"]:
        node.pop("spec", None)  # where the child's text lies; its content counts below
    whole = {"document": plain, "state": state, "code": code, "children": children, "packs": list(packs)}
    return content_hash(whole)


def fork_hash(parent_hash: str, mutation: Mapping[str, Any]) -> str:
    """The derived hash of a counterfactual: of the parent's hash and what was changed, keys that are null left out."""
    given = {name: value for name, value in mutation.items() if value is not None}
    return hashlib.sha256(b"\0".join((_FORK_TAG, parent_hash.encode(), canonical_json(given)))).hexdigest()


def runtime_hash(python_version: str, framework_version: str) -> str:
    """Which interpreter (`3.11.7`) and which Astrarium ran it."""
    return hashlib.sha256(f"{python_version}\0{framework_version}".encode()).hexdigest()
