"""`std.file_read`: a text file of the folder of files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runs.ports import StepFailed, ToolSpec, TryContext
from .folder import MAX_FILE_BYTES, place_of


def read(path: Path, name: str) -> str:
    """Raises `StepFailed` for what is no file, too large, or no text."""
    if not path.is_file():
        raise StepFailed(f"there is no file {name!r}", code="FileNotFoundError")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise StepFailed(f"{name!r} is larger than {MAX_FILE_BYTES} bytes", code="TooLarge")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise StepFailed(f"{name!r} holds no text in UTF-8: {error.reason}", code="UnicodeDecodeError") from None


class FileRead:
    spec = ToolSpec(
        "file_read",
        "std",
        description="Reads a text file. Paths are relative to the folder of files.",
        input_schema={
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
            "additionalProperties": False,
        },
        output_schema={"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}},
        side_effects="read",
        permissions=("tools:std:file_read",),
        tags=("files",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        path = place_of(ctx, args["path"])
        return {"path": args["path"], "content": await asyncio.to_thread(read, path, args["path"])}


TOOL = FileRead()
