"""Artifacts: which bytes belong to what. The bytes lie once, by their hash, in a place for blobs; a row of `artifacts` says whose they
are and what they are called.

A machine that lets its life have artifacts lists `ARTIFACTS` among its tables, carries an `Artifact` in the event that tells of one, and
gives `artifact_row` among its `rows`: so the row is written in the transaction of the event. The bytes were put before, and are durable
then; bytes nobody refers to any more are swept away later. Whoever takes a life out of the store drops its rows by `artifact_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..ports import Store
from ..types import Row, Scope, table

RUN, TASK = "run", "task"
"""Kinds of owners."""

ARTIFACTS = table(
    "artifacts",
    "workspace owner_kind owner key",
    "workspace owner_kind owner key environment id name content_type size:int sha256 blake3 created_at:int metadata:json",
)
_COLUMNS = ", ".join(column.name for column in ARTIFACTS.columns)


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event tells of an artifact. `key` makes it one of its owner's: another of the same key takes its place. `id` is what
    clients know it by; two owners may have one of the same id. `sha256` names the bytes, `blake3` is their other digest."""

    key: str
    id: str
    name: str
    content_type: str
    size: int
    sha256: str
    blake3: str
    metadata: dict[str, Any] = {}


class OwnedArtifact(msgspec.Struct, frozen=True):
    """A row of `artifacts`. `created_at` is microseconds UTC."""

    workspace: str
    owner_kind: str
    owner: str
    key: str
    environment: str
    id: str
    name: str
    content_type: str
    size: int
    sha256: str
    blake3: str
    created_at: int
    metadata: dict[str, Any]


def artifact_row(scope: Scope, owner_kind: str, owner: str, artifact: Artifact, at: int) -> Row:
    """The row of an artifact that an event at `at` told of."""
    made = artifact
    metadata = msgspec.json.encode(made.metadata).decode()
    return ARTIFACTS, (
        scope.workspace, owner_kind, owner, made.key, scope.environment, made.id, made.name, made.content_type, made.size, made.sha256,
        made.blake3, at, metadata,
    )  # fmt: skip


def _owned(row: tuple[Any, ...]) -> OwnedArtifact:
    values = (*row[:12], msgspec.json.decode(row[12]))
    return OwnedArtifact(*values)


async def find_artifact(store: Store, workspace: str, id_: str) -> OwnedArtifact | None:
    """The newest artifact of a workspace that clients know by this id."""
    sql = f"SELECT {_COLUMNS} FROM artifacts WHERE workspace = ? AND id = ? ORDER BY created_at DESC, owner_kind, owner, key LIMIT 1"
    rows = await store.read(sql, (workspace, id_))
    return _owned(rows[0]) if rows else None


async def list_artifacts(store: Store, workspace: str, owner_kind: str, owner: str) -> list[OwnedArtifact]:
    """All an owner has, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM artifacts WHERE workspace = ? AND owner_kind = ? AND owner = ? ORDER BY created_at, key"
    return [_owned(row) for row in await store.read(sql, (workspace, owner_kind, owner))]


async def count_artifacts(store: Store, workspace: str, owner_kind: str, owners: Sequence[str]) -> Mapping[str, int]:
    """How many each owner has; one without any is left out."""
    if not owners:
        return {}
    sql = (
        "SELECT owner, count(*) FROM artifacts WHERE workspace = ? AND owner_kind = ?"
        f" AND owner IN ({_marks(owners)}) GROUP BY owner"
    )
    return dict(await store.read(sql, (workspace, owner_kind, *owners)))


async def artifact_keys(store: Store, workspace: str, owner_kind: str, owners: Sequence[str]) -> list[tuple[Any, ...]]:
    """Keys of the rows of these owners, for who removes them: `engine.remove(…, gone={ARTIFACTS: keys})`."""
    if not owners:
        return []
    sql = (
        "SELECT workspace, owner_kind, owner, key FROM artifacts WHERE workspace = ? AND owner_kind = ?"
        f" AND owner IN ({_marks(owners)})"
    )
    return await store.read(sql, (workspace, owner_kind, *owners))


async def unreferenced(store: Store, hashes: Sequence[str]) -> list[str]:
    """Those of these hashes that no artifact refers to."""
    if not hashes:
        return []
    rows = await store.read(f"SELECT DISTINCT sha256 FROM artifacts WHERE sha256 IN ({_marks(hashes)})", hashes)
    held = {row[0] for row in rows}
    return [hash_ for hash_ in hashes if hash_ not in held]


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
