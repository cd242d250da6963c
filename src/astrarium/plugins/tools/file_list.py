"""`std.file_list`: what lies in the folder of files."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runs.ports import StepFailed, ToolSpec, TryContext
from .folder import place_of

MOST = 1000


def listed(folder: Path) -> list[dict[str, Any]]:
    """Raises `OSError`."""
    found = sorted(itertools.islice(folder.iterdir(), MOST), key=lambda one: one.name)
    return [{"name": one.name, "folder": one.is_dir(), "bytes": one.lstat().st_size} for one in found]


class FileList:
    spec = ToolSpec(
        "file_list",
        "std",
        description=f"Lists a folder, at most {MOST} entries. Paths are relative to the folder of files.",
        input_schema={
            "type": "object",
            "properties": {"path": {"type": "string", "default": "."}},
            "additionalProperties": False,
        },
        output_schema={"type": "object", "properties": {"entries": {"type": "array"}}},
        side_effects="read",
        permissions=("tools:std:file_read",),
        tags=("files",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        path = place_of(ctx, args.get("path", "."))
        if not path.is_dir():
            raise StepFailed(f"there is no folder {args.get('path', '.')!r}", code="FileNotFoundError")
        return {"entries": await asyncio.to_thread(listed, path)}


TOOL = FileList()
