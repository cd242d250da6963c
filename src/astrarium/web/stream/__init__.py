"""Answers that are sent piece by piece: what happens as it happens, by Server-Sent Events (`sent`) and WebSockets (`socket`) of the same
frames; and bytes of any length (`download`).

What the frames say, and from where on a client wants them, is each surface's; that a slow client holds nobody up, and that all are told
when the server stops, is settled here.
"""

from __future__ import annotations

from .sent import (
    HEARTBEAT,
    MEDIA,
    RETRY,
    EventStream,
    Frame,
    Frames,
    Pieces,
    Streams,
    as_pieces,
    cursor_of,
    frame,
    parse_flag,
)

__all__ = [
    "HEARTBEAT",
    "MEDIA",
    "RETRY",
    "EventStream",
    "Frame",
    "Frames",
    "Pieces",
    "Streams",
    "as_pieces",
    "cursor_of",
    "frame",
    "parse_flag",
]
