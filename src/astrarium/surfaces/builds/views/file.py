"""Files of tasks, as clients see them."""

from __future__ import annotations

from ....errors import NotFound
from ....kernel.ports import Store
from ....kernel.record.artifact import TASK, Artifact, OwnedArtifact, list_artifacts
from ....kernel.types import Scope
from ....store.blob.media import Preview
from .. import wire
from ..machines.file import file_owner
from .text import moment


async def list_files(store: Store, scope: Scope, task_id: str) -> list[OwnedArtifact]:
    """All a task has, by name."""
    found = await list_artifacts(store, scope.workspace, TASK, file_owner(scope.environment, task_id))
    return sorted(found, key=lambda one: one.name)


async def read_file(store: Store, scope: Scope, task_id: str, name: str) -> OwnedArtifact:
    """One of them. Raises `NotFound`."""
    for one in await list_files(store, scope, task_id):
        if one.name == name:
            return one
    raise NotFound("File not found")


def show_file(file: OwnedArtifact) -> wire.TaskFile:
    return wire.TaskFile(file.id, file.name, file.content_type, file.size, file.sha256, moment(file.created_at))


def show_put(file: Artifact) -> wire.TaskFilePut:
    return wire.TaskFilePut(file.id, file.name, file.content_type, file.size, file.sha256)


def show_preview(shown: Preview, content_type: str) -> wire.ContentPreview:
    """The beginning of some content; of what is no text only type and size."""
    text = None if shown.binary else shown.text
    return wire.ContentPreview(content_type, shown.size, text, shown.charset or None, shown.binary, shown.truncated)
