"""`std.sql_query`: a query on an SQLite database of the folder of files, which is opened for reading only."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...runs.ports import StepFailed, ToolSpec, TryContext
from .folder import place_of

MOST_ROWS = 1000
MOST_S = 30.0
LOOK_EVERY = 10_000
"""Steps of SQLite's machine between two looks at the clock."""
_READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)


def query(path: Path, sql: str, params: list[Any], limit: int) -> dict[str, Any]:
    """Raises `StepFailed` for what is no query, would do more than read, or takes too long."""
    until = time.monotonic() + MOST_S
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as database:
            database.set_authorizer(_allow)
            database.set_progress_handler(lambda: int(time.monotonic() > until), LOOK_EVERY)
            cursor = database.execute(sql, params)
            rows = cursor.fetchmany(limit + 1)
            columns = [column[0] for column in cursor.description or ()]
    except sqlite3.Error as error:
        told = f"it took longer than {MOST_S:g} s" if time.monotonic() > until else str(error)
        raise StepFailed(told, code="SqlError") from None
    shown = [[value.hex() if isinstance(value, bytes) else value for value in row] for row in rows[:limit]]
    return {"columns": columns, "rows": shown, "cut": len(rows) > limit}


def _allow(action: int, *about: Any) -> int:
    safe = action in _READING and not (
        action == sqlite3.SQLITE_FUNCTION and about[1] in ("load_extension", "readfile", "writefile")
    )
    return sqlite3.SQLITE_OK if safe else sqlite3.SQLITE_DENY


class SqlQuery:
    spec = ToolSpec(
        "sql_query",
        "std",
        description="Asks an SQLite database, for reading only. `database` is a path relative to the folder of files.",
        input_schema={
            "type": "object",
            "properties": {
                "database": {"type": "string"},
                "sql": {"type": "string"},
                "params": {"type": "array", "items": {"type": ["string", "number", "boolean", "null"]}},
                "limit": {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": 100},
            },
            "required": ["database", "sql"],
            "additionalProperties": False,
        },
        output_schema={"type": "object", "properties": {"columns": {"type": "array"}, "rows": {"type": "array"}}},
        side_effects="read",
        permissions=("tools:std:sql",),
        tags=("data",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        path = place_of(ctx, args["database"])
        if not path.is_file():
            raise StepFailed(f"there is no database {args['database']!r}", code="FileNotFoundError")
        return await asyncio.to_thread(query, path, args["sql"], args.get("params", []), args.get("limit", 100))


TOOL = SqlQuery()
