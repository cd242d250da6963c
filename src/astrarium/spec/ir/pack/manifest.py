"""What `manifest.yaml` of a pack says, whether this host fits it, and the hash of the pack's files. Stargraph 0.8: contract 1.6."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import blake3
import msgspec

from ....errors import Invalid
from ..document import Requires
from ..read import Findings, Key, Shape, filled, listed, matching, read_shape, read_tree, shaped

Algorithm = Literal["BLAKE3", "SHA-256"]

PACK_ID = r"[a-z0-9][a-z0-9_.-]{0,127}"
MANIFEST = "manifest.yaml"
RULES = "rules.clp"
SIDECAR = "manifest.jwt"
KEY_SUFFIX = ".pub.pem"
_SHAPE: Shape = {
    "id": Key(matching(PACK_ID, "lower-case letters, digits, and _.- after the first"), True),
    "version": Key(filled, True),
    "requires": Key(shaped({"stargraph_facts_version": Key(filled), "api_version": Key(filled)})),
    "provides": Key(listed(filled, "")),
}


class Manifest(msgspec.Struct, frozen=True):
    """`provides`: the facts a pack's rules assert."""

    id: str
    version: str
    requires: Requires = Requires()
    provides: tuple[str, ...] = ()


def read_manifest(text: str, file: str) -> Manifest:
    """Raises `Invalid` with every defect."""
    found = Findings(file)
    root = read_tree(text, found)
    read: dict[str, Any] = {}
    if root is not None:
        if root.kind == "map":
            read = read_shape(root, "", found, _SHAPE)
        else:
            found.add("", "a manifest is a mapping with `id` and `version`", expected="a mapping", actual=root.plain())
    if found.count:
        defects = found.finished()
        raise Invalid(str(defects[0]), tuple(defects))
    return msgspec.convert(read, Manifest)


def unfit(requires: Requires, facts_version: str, api_version: str) -> str:
    """Why this host is not what a pack was written for; empty when it is. Versions must be equal."""
    if requires.stargraph_facts_version not in ("", facts_version):
        return f"it needs facts version {requires.stargraph_facts_version}, this is {facts_version}"
    if requires.api_version not in ("", api_version):
        return f"it needs API version {requires.api_version}, this is {api_version}"
    return ""


def tree_hash(files: Mapping[str, bytes], algorithm: Algorithm = "BLAKE3") -> str:
    """The hash of a pack's files by relative path (with `/`): path, NUL, length as 8 bytes, content, in the order of the paths.
    Keys (`*.pub.pem`) and the signature itself do not count."""
    digest: Any = blake3.blake3() if algorithm == "BLAKE3" else hashlib.sha256()
    for path in sorted(files, key=str.encode):
        if path.endswith(KEY_SUFFIX) or path == SIDECAR:
            continue
        digest.update(path.encode() + b"\0" + len(files[path]).to_bytes(8, "big") + files[path])
    return str(digest.hexdigest())
