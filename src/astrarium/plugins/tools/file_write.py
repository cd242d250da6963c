"""`std.file_write`: writes a text file of the folder of files, whole or not at all."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runs.ports import StepFailed, ToolSpec, TryContext
from .folder import MAX_FILE_BYTES, place_of


def write(path: Path, content: bytes) -> None:
    """Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class FileWrite:
    spec = ToolSpec(
        "file_write",
        "std",
        description="Writes a text file, in place of one that is there. Paths are relative to the folder of files.",
        input_schema={
            "type": "object",
            "properties": {"path": {"type": "string", "minLength": 1}, "content": {"type": "string"}},
            "required": ["path", "content"],
            "additionalProperties": False,
        },
        output_schema={"type": "object", "properties": {"path": {"type": "string"}, "bytes": {"type": "integer"}}},
        side_effects="write",
        permissions=("tools:std:file_write",),
        tags=("files",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        content = args["content"].encode()
        if len(content) > MAX_FILE_BYTES:
            raise StepFailed(f"a file has at most {MAX_FILE_BYTES} bytes", code="TooLarge")
        path = place_of(ctx, args["path"])
        if path.is_dir():
            raise StepFailed(f"{args['path']!r} is a folder", code="IsADirectoryError")
        await asyncio.to_thread(write, path, content)
        return {"path": args["path"], "bytes": len(content)}


TOOL = FileWrite()
