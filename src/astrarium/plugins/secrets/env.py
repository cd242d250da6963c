"""`env`: a variable of the environment the server was started with (Dagu 1.30)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar

from ...config import is_own
from ...errors import Forbidden, NotFound


class EnvSecrets:
    """`key` is the variable's name. It reaches steps only as the declared secret: children do not inherit it otherwise. The
    server's own variables, which may hold its keys and passwords, are nobody's secret."""

    kind: ClassVar[str] = "env"

    async def read(self, key: str, options: Mapping[str, str], base_dir: str) -> str:
        if is_own(key):
            raise Forbidden(f"the variable {key!r} is the server's own", hint="give the secret a variable of another name")
        value = os.environ.get(key)
        if value is None:
            raise NotFound(f"the variable {key!r} is not set", hint="set it where the server is started")
        return value


PROVIDER = EnvSecrets()
