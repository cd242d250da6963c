"""What a piece of user code came to: a value or an exception, and how that is told."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

from ...errors import AstrariumError


async def outcome_of(work: Any) -> Any:
    """What a coroutine gives, or the exception it raises, whichever: a body may raise anything, and that is a result here."""
    running = asyncio.ensure_future(work)
    try:
        await asyncio.wait([running])
    except asyncio.CancelledError:
        if not running.cancel() and not running.cancelled():
            running.exception()
        raise
    if running.cancelled():
        return AstrariumError("the body cancelled itself", code="cancelled")
    error = running.exception()
    return running.result() if error is None else error


def line_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def text_of(error: BaseException) -> str:
    """The traceback, as people look for it in the registry."""
    return "".join(traceback.format_exception(error))[-16_000:]
