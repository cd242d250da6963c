"""The folder tools find files in, and nothing beside it."""

from __future__ import annotations

from pathlib import Path

from ...runs.ports import StepFailed, TryContext

MAX_FILE_BYTES = 8 * 1024 * 1024


def place_of(ctx: TryContext, path: str) -> Path:
    """Where a path of a caller lies. Raises `StepFailed` for one that leads out of the folder, by `..`, absolutely, or by a link."""
    root = ctx.files.resolve()
    if "\0" in path or Path(path).is_absolute():
        raise StepFailed(f"{path!r}: paths are relative to the folder of files", code="PathRefused")
    found = (root / path).resolve()
    if found != root and root not in found.parents:
        raise StepFailed(f"{path!r} leads out of the folder of files", code="PathRefused")
    return found
