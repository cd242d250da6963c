"""`file`: the text of a file, without the line break at its end (Dagu 1.30)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ...errors import Invalid, NotFound

MAX_BYTES = 1024 * 1024


class FileSecrets:
    """`key` is a path: absolute, from the home folder (`~`), or relative to the definition's folder."""

    kind: ClassVar[str] = "file"

    async def read(self, key: str, options: Mapping[str, str], base_dir: str) -> str:
        path = Path(base_dir or ".", Path(key).expanduser())
        try:
            data = await asyncio.to_thread(read_start, path)
        except FileNotFoundError:
            raise NotFound(f"there is no file {path}", hint="make it where the server runs") from None
        except (OSError, ValueError, RuntimeError) as error:
            raise Invalid(f"the file {path} cannot be read: {error}", hint="let the server's user read it") from None
        if len(data) > MAX_BYTES:
            raise Invalid(f"the file {path} is larger than {MAX_BYTES:,} bytes", hint="a secret is a short text")
        try:
            return data.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise Invalid(f"the file {path} is no UTF-8 text", hint="keep its base64 form instead") from None


def read_start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


PROVIDER = FileSecrets()
