"""Files of a task: bytes its driver attaches under a name, of any type. The bytes lie with all artifacts; a task knows which are its.

They are no assets: those are small documents that are searched and counted (Stardag), these are listed and fetched by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ....errors import NotFound, TooMuch
from ....kernel.record.artifact import ARTIFACTS, TASK, Artifact, artifact_row
from ....kernel.types import Drop, Row, Scope
from .kept import Kept

FILES_MAX = 1000
"""Files of one task."""


class PutFile(msgspec.Struct, frozen=True, tag=True):
    """Attach a file, whose bytes are put already; one of the same name is replaced."""

    build: str
    file: Artifact


class DropFile(msgspec.Struct, frozen=True, tag=True):
    """Take a file away."""

    name: str


class FilePut(msgspec.Struct, frozen=True, tag=True):
    build: str
    file: Artifact


class FileDropped(msgspec.Struct, frozen=True, tag=True):
    name: str


ORDERS = (PutFile, DropFile)
EVENTS = (FilePut, FileDropped)


def file_owner(environment: str, task_id: str) -> str:
    """Whose the artifacts are."""
    return f"{environment}/{task_id}"


def decide(kept: Kept, command: PutFile | DropFile) -> list[Any]:
    """Raises `NotFound`, `TooMuch`."""
    if isinstance(command, DropFile):
        if command.name not in kept.files:
            raise NotFound("File not found")
        return [FileDropped(command.name)]
    file, known = command.file, kept.files.get(command.file.name)
    if known is None and len(kept.files) >= FILES_MAX:
        raise TooMuch(f"a task has at most {FILES_MAX} files", hint="remove some, or put several into one archive")
    if known is not None:
        if (known.sha256, known.content_type) == (file.sha256, file.content_type):
            return []  # told again
        file = msgspec.structs.replace(file, id=known.id)
    return [FilePut(command.build, file)]


def fold(kept: Kept, event: FilePut | FileDropped, place: tuple[Scope, str], rows: list[Row], at: int) -> None:
    """The event into the state, and the rows that follow from it; `place` = where the task is, and its id."""
    scope, task_id = place
    name = event.name if isinstance(event, FileDropped) else event.file.name
    rows[:] = [one for one in rows if one[0] is not ARTIFACTS or one[1][3] != name]
    if isinstance(event, FileDropped):
        kept.files = {known: file for known, file in kept.files.items() if known != name}
    else:
        kept.files = {**kept.files, name: event.file}
        rows.append(artifact_row(scope, TASK, file_owner(scope.environment, task_id), event.file, at))


def react(place: tuple[Scope, str], event: Any) -> Iterable[Drop]:
    """The row of a file that is gone."""
    scope, task_id = place
    if not isinstance(event, FileDropped):
        return ()
    return (Drop(ARTIFACTS, (scope.workspace, TASK, file_owner(scope.environment, task_id), event.name)),)
