"""What a worker process calls for an archive step: the order as plain data in, a report or one sentence of complaint out."""

from __future__ import annotations

from typing import Any

from .archive_create import create
from .archive_extract import extract, list_entries
from .archive_format import BadArchive

WORK = {"create": create, "extract": extract, "list": list_entries}


def carry_out(order: dict[str, Any]) -> dict[str, Any]:
    """`{"report": …}` or `{"error": …}`: what is wrong with an archive or a file is no exception with a traceback in the log."""
    try:
        return {"report": WORK[order["operation"]](order)}
    except BadArchive as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"{error.filename or order['source']}: {error.strerror or error}"}
