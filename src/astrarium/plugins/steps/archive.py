"""`archive`: make, unpack or list tar and zip archives (Dagu 1.30: `type: archive`, contract §5).

The work is done in a Python worker process, so that a stop can end it at once and a hostile archive cannot hurt the server. What is
being made lies under a hidden name beside its destination until it is whole; this step removes what a stopped worker left there.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from ...runs.ports import Result, StepFailed, TryContext

WORK = f"{__package__}.archive_work:carry_out"
"""By name: the formats' libraries are loaded where they are used, in the worker."""


class ArchiveParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`source` and `destination` are paths, relative to the step's folder (`extract` without destination: into that folder).
    `format` is found by the ending of the archive's name unless given. `include` and `exclude` are globs over the paths inside,
    `compression_level` is -1 (the format's own) to 9; a `password` opens a zip archive. All texts are templates."""

    operation: Literal["create", "extract", "list"]
    source: str
    destination: str = ""
    format: str = ""
    compression_level: str = "-1"
    password: str = ""
    overwrite: bool = False
    preserve_paths: bool = True
    strip_components: str = "0"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dry_run: bool = False
    verbose: bool = False
    follow_symlinks: bool = False
    verify_integrity: bool = False
    continue_on_error: bool = False


class Archive:
    """Its output is a JSON report: what was done, to how many entries and bytes; for `list` the entries too."""

    kind: ClassVar[str] = "archive"
    Params: ClassVar[type[msgspec.Struct]] = ArchiveParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = "python"
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: ArchiveParams) -> Result:
        order = await self._order(ctx, params)
        staged = Path(order["staged"])
        try:
            done = await ctx.call_python(WORK, {"order": order})
        finally:
            if os.path.lexists(staged):
                await asyncio.shield(asyncio.to_thread(_remove, staged))
        if "error" in done:
            ctx.write(done["error"] + "\n", error=True)
            raise StepFailed(done["error"])
        text = json.dumps(done["report"], ensure_ascii=False)
        ctx.write(text + "\n")
        return Result(output=text)

    async def _order(self, ctx: TryContext, params: ArchiveParams) -> dict[str, Any]:
        """What the worker is told: all texts expanded, paths absolute, and where it may put what is not finished."""
        order: dict[str, Any] = msgspec.structs.asdict(params)
        for name in ("include", "exclude"):
            order[name] = [await ctx.expand(text) for text in order[name]]
        for name in ("source", "destination", "format", "password"):
            order[name] = await ctx.expand(order[name])
        order["compression_level"] = _number("compressionLevel", await ctx.expand(params.compression_level), -1, 9)
        order["strip_components"] = _number("stripComponents", await ctx.expand(params.strip_components), 0, 10_000)
        if not order["source"].strip():
            raise StepFailed("an archive step needs `source`: it is empty once its variables are expanded")
        if params.operation == "create" and not order["destination"].strip() and not params.dry_run:
            raise StepFailed("`create` needs `destination`: it is empty once its variables are expanded")
        source = Path(ctx.workdir, os.path.expanduser(order["source"]))
        target = Path(ctx.workdir, os.path.expanduser(order["destination"]))
        mark = f".astrarium-{secrets.token_hex(8)}"
        staged = target.parent / f"{mark}.part" if params.operation == "create" else target / mark
        named = params.operation != "create" or order["destination"]
        return order | {"source": str(source), "destination": str(target) if named else "", "staged": str(staged)}


def _number(field: str, text: str, least: int, most: int) -> int:
    if text.lstrip("-").isdecimal() and least <= int(text) <= most:
        return int(text)
    raise StepFailed(f"`{field}` must be a number from {least} to {most}, not {text!r}")


def _remove(path: Path) -> None:
    """What was not finished; folders without write permission inside are opened first."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o700)
    shutil.rmtree(path)


STEP = Archive()
